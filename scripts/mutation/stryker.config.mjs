// Stryker's settings: what is mutated, and which tests are to notice; arguments come by MUTATION. See docs/verification.md, "Does a test notice?".
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: asked, positionals } = parseArgs({
  args: (process.env.MUTATION ?? '').split(' ').filter((word) => word !== ''),
  allowPositionals: true,
  options: {
    // Part of the declarations to draw, and by which dice
    sample: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    // A pattern for names of tests
    tests: { type: 'string', default: '' },
    concurrency: { type: 'string', default: '2' },
    // Without what is evaluated once, when a file is loaded: each such mutant takes a process and all tests
    'ignore-static': { type: 'boolean', default: false }
  }
})
const mutated = positionals.length > 0 ? positionals : ['src/machines/tcp', 'src/codecs']

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
const randomOf = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
const random = randomOf(Number(asked.seed))

/** FILE:FROM-TO are lines of one. */
const filesIn = (path) =>
  /\.ts(:\d+-\d+)?$/.test(path)
    ? [path]
    : readdirSync(path, { withFileTypes: true })
        .map((entry) => join(path, entry.name))
        .sort()
        .flatMap((p) => filesIn(p))
        .filter((p) => p.endsWith('.ts'))

/** Where declarations of a file begin and end, in lines from 1: what is drawn is drawn whole. */
const declarations = (file) => {
  const lines = readFileSync(file, 'utf8').split('\n')
  const begins = lines.flatMap((line, i) => (/^(export )?(const|function|class) /.test(line) ? [i + 1] : []))
  return begins.map((from, i) => `${file}:${from}-${(begins[i + 1] ?? lines.length + 1) - 1}`)
}

/**
 * Tests that look at texts of the tree or at native code say nothing about behaviour; compile.test.ts wants a failure shrunk
 * (compile-tcp.test.ts is asked).
 */
const NOT_ASKED =
  /^(abi|conformance|diagrams|generated|references|security|native-members|option-manual|page|pure|anonymize|tcp-block|compile)\./
const named = new RegExp(asked.tests)
/** They take seconds. The first test that notices ends a mutant's run, so these are asked last. */
const SLOW = /^(explore|compile|record|tcp-world|tcp-machine|tcp-splice|judge|logging|dhcpv6)/
const tests = readdirSync('property-tests')
  .filter((name) => name.endsWith('.test.ts') && named.test(name) && !NOT_ASKED.test(name))
  .sort((a, b) => Number(SLOW.test(a)) - Number(SLOW.test(b)))
  .map((name) => `property-tests/${name}`)

const here = dirname(fileURLToPath(import.meta.url))
const BUNDLE = 'mutation-tests.cjs'
const files = mutated.flatMap((path) => filesIn(path))

export default {
  mutate:
    asked.sample === '1'
      ? files
      : files.flatMap((file) => declarations(file)).filter(() => random() < Number(asked.sample)),
  // The copy of the tree has the mutants, all at once; one of them is switched on while tests run.
  buildCommand: [process.execPath, join(here, 'bundle.mjs'), BUNDLE, ...tests].join(' '),
  testRunner: 'mocha',
  plugins: [createRequire(import.meta.url).resolve('@stryker-mutator/mocha-runner')],
  mochaOptions: { spec: [BUNDLE] },
  coverageAnalysis: 'perTest',
  ignoreStatic: asked['ignore-static'],
  disableTypeChecks: false,
  tsconfigFile: 'none.json',
  concurrency: Number(asked.concurrency),
  timeoutMS: 60_000,
  timeoutFactor: 2,
  dryRunTimeoutMinutes: 30,
  tempDirName: '.cache/stryker',
  ignorePatterns: [
    '/build',
    '/dist',
    '/bin',
    '/lib',
    '/.cache',
    '/scripts/node-lts',
    '/scripts/mutation',
    '/bench/results'
  ],
  reporters: ['clear-text', 'json', 'progress-append-only'],
  clearTextReporter: { allowColor: false, reportTests: false, skipFull: true },
  jsonReporter: { fileName: '.cache/mutation.json' },
  allowConsoleColors: false
}
