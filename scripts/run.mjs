#!/usr/bin/env node
// What `npm start`, `npm test` and the other scripts do: bring the clone up to date (install, native build, bundle),
// then run the task. Plain Node without dependencies, because on a fresh clone there are none yet.
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beside } from './beside.mjs'
import { compile, compiledOf } from './compiled.mjs'

// As package.json has it, for node-gyp.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 17) || major === 21 || (major === 22 && minor < 9)) {
  console.error(`Node ${process.versions.node} will not do: it takes 20.17 or later, or 22.9 or later`)
  process.exit(1)
}

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const at = (...p) => join(root, ...p)
const [task = 'build', ...args] = process.argv.slice(2)

const run = (command, argv, options = {}) => {
  const r = spawnSync(command, argv, { cwd: root, stdio: 'inherit', ...options })
  if (r.error) {
    console.error(`${command}: ${r.error.message}`)
    process.exit(1)
  }
  return r.status ?? 128
}
const must = (command, argv, options) => {
  const status = run(command, argv, options)
  if (status !== 0) {
    console.error(`failed with status ${status}: ${command} ${argv.join(' ')}`)
    process.exit(status)
  }
}

/** Newest modification time, ms, below the given paths; 0 for what does not exist. */
const newest = (...paths) =>
  Math.max(
    0,
    ...paths.filter(existsSync).map((p) => {
      const s = statSync(p)
      return s.isDirectory() ? newest(...readdirSync(p).map((f) => join(p, f))) : s.mtimeMs
    })
  )
const oldest = (...paths) => Math.min(...paths.map((p) => (existsSync(p) ? statSync(p).mtimeMs : 0)))

/** What the lock file in `dir` says, in its node_modules. */
const installIn = (dir) => {
  const lock = join(dir, 'node_modules', '.package-lock.json')
  if (newest(join(dir, 'package-lock.json')) <= newest(lock)) return
  // Build output goes to stderr: stdout belongs to the program that is started in the end.
  must('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: dir,
    stdio: ['ignore', 2, 2]
  })
}
const install = () => installIn(root)

/** The newest long-term release of Node (scripts/node-lts), for the tests; fetched when first asked for. */
const longTermNode = () => {
  installIn(at('scripts/node-lts'))
  const node = at(`scripts/node-lts/node_modules/node-linux-${process.arch}/bin/node`)
  const lts = spawnSync(node, ['-p', 'process.release.lts'], { encoding: 'utf8' })
  if (lts.status !== 0 || !/^[A-Z]\w+\n$/.test(lts.stdout)) {
    console.error(`${node} is no long-term release: ${lts.error?.message ?? lts.stdout + lts.stderr}`)
    process.exit(1)
  }
  return node
}

const native = () => {
  const made = ['passt.node', 'passt-launcher', 'passt-stamp', 'qrap', 'passt-repair'].map((name) =>
    at('build/Release', name)
  )
  const sources = [
    at('native/addon'),
    at('native/common'),
    at('native/launcher'),
    at('native/qrap'),
    at('native/repair'),
    at('binding.gyp')
  ]
  if (newest(...sources) <= oldest(...made)) return
  // Headers of the running Node where the installation has them; otherwise node-gyp fetches them.
  const nodedir = resolve(process.execPath, '../..')
  const headers = existsSync(join(nodedir, 'include/node/node.h')) ? [`--nodedir=${nodedir}`] : []
  for (const tool of ['g++', 'make', 'python3'])
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).error) {
      console.error(
        `${tool} is needed to build the native part; install it (Debian: apt-get install g++ make python3)`
      )
      process.exit(1)
    }
  must(
    process.execPath,
    [at('node_modules/node-gyp/bin/node-gyp.js'), 'rebuild', '--jobs=max', '--loglevel=error', ...headers],
    {
      stdio: ['ignore', 2, 2]
    }
  )
}

/** program of src/bin -> its bundle */
const bundles = {
  engine: 'dist/engine.cjs',
  judge: 'dist/judge.cjs',
  replay: 'dist/replay.cjs',
  pesto: 'dist/pesto.cjs',
  api: 'dist/api.cjs',
  ctl: 'dist/ctl.cjs'
}
/** What a page runs in the browser, as a text. */
const pagePart = (source, ...options) => {
  const argv = [source, '--bundle', '--minify', '--target=es2022', '--log-level=warning', ...options]
  const r = spawnSync(at('node_modules/.bin/esbuild'), argv, { cwd: root, encoding: 'utf8' })
  if (r.status === 0) return r.stdout.trim()
  console.error(r.stderr ?? r.error?.message)
  process.exit(1)
}
const SCRIPT = ['--format=iife', '--charset=utf8']
/** Names that a bundle takes from the build. */
const defined = {
  replay: () => ({
    PAGE_SCRIPT: pagePart('src/page/main.ts', ...SCRIPT),
    PAGE_STYLE: pagePart('src/page/style.css')
  }),
  ctl: () => ({
    LIVE_SCRIPT: pagePart('src/page/live.ts', ...SCRIPT),
    LIVE_STYLE: pagePart('src/page/live.css')
  })
}
/** `npm run build -- --readable`: names and lines as they are in the sources, until those change. */
const readable = task === 'build' && args.includes('--readable')
const bundle = () => {
  const from = newest(at('src'), at('package.json'), at('scripts/run.mjs'), at('package-lock.json'))
  for (const [name, file] of Object.entries(bundles)) {
    const made = at(file)
    if (from <= oldest(made) && !readable) continue
    const argv = [
      `src/bin/${name}.ts`,
      '--bundle',
      ...(readable ? [] : ['--minify']),
      '--platform=node',
      '--format=cjs',
      '--target=node20',
      ...Object.entries(defined[name]?.() ?? {}).map(([k, text]) => `--define:${k}=${JSON.stringify(text)}`)
    ]
    must(at('node_modules/.bin/esbuild'), [...argv, '--log-level=warning', `--outfile=${made}.tmp`], {
      stdio: ['ignore', 2, 2]
    })
    renameSync(`${made}.tmp`, made)
  }
}

/** The bundle once it has run, as the launcher starts it (native/launcher/snapshot.h). Without it the start is slower. */
const snapshot = (node = process.execPath) => {
  const [blob, stamp] = [at('dist/engine.blob'), at('dist/engine.stamp')]
  const stampNow = () =>
    spawnSync(at('build/Release/passt-stamp'), [node, blob], { encoding: 'utf8' }).stdout ?? ''
  const fits = existsSync(blob) && existsSync(stamp) && readFileSync(stamp, 'utf8') === stampNow()
  const from = newest(at('dist/engine.cjs'), at('native/launcher/engine-options.h'))
  if (fits && oldest(blob) >= from) return
  rmSync(stamp, { force: true })
  const options = readFileSync(at('native/launcher/engine-options.h'), 'utf8').match(/(?<=")--[^"]+(?=")/g)
  // With what V8 has compiled. Without it (withoutCodeCache) a start takes a tenth less, but V8 of Node 20 ends by SIGTRAP where it
  // compiles the initialisers of a class's fields once more. While it runs it keeps those.
  const argv = [...options, '--snapshot-blob', `${blob}.tmp`, '--build-snapshot', at('dist/engine.cjs')]
  if (run(node, argv, { stdio: ['ignore', 2, 2] }) !== 0) {
    console.error('no snapshot of the engine: it will start more slowly')
    return
  }
  renameSync(`${blob}.tmp`, blob)
  writeFileSync(stamp, stampNow())
}

const programs = () => {
  mkdirSync(at('bin'), { recursive: true })
  const made = {
    passt: 'passt-launcher',
    pasta: 'passt-launcher',
    qrap: 'qrap',
    'passt-repair': 'passt-repair'
  }
  for (const [name, executable] of Object.entries(made)) {
    const from = at('build/Release', executable)
    const to = at('bin', name)
    if (oldest(to) >= newest(from)) continue
    rmSync(`${to}.tmp`, { force: true })
    copyFileSync(from, `${to}.tmp`)
    renameSync(`${to}.tmp`, to) // a running program keeps its old file
  }
  scripts()
}

/**
 * Programs without a native part: a script that runs their bundle on the Node that built them, as the launcher does
 * (native/launcher/main.cc). PASST_NODE names another one; where that of the build is gone, the first in PATH will do.
 */
const scripts = () => {
  const quoted = `'${process.execPath.replaceAll("'", `'\\''`)}'`
  for (const name of Object.keys(bundles).filter((b) => b !== 'engine' && b !== 'api')) {
    // upstream's name, which programs look for
    const to = at(name === 'pesto' ? 'bin/pesto' : `bin/passt-${name}`)
    const text = `#!/bin/sh
node=\${PASST_NODE:-${quoted}}
command -v "$node" > /dev/null 2>&1 || node=node
exec "$node" "$(dirname "$(readlink -f "$0")")/../dist/${name}.cjs" "$@"
`
    if (existsSync(to) && readFileSync(to, 'utf8') === text) continue
    writeFileSync(`${to}.tmp`, text)
    chmodSync(`${to}.tmp`, 0o755)
    renameSync(`${to}.tmp`, to)
  }
}

const build = () => {
  install()
  native()
  bundle()
  snapshot()
  programs()
}

const lint = () => {
  must(at('node_modules/.bin/tsc'), ['-p', 'tsconfig.json'])
  must(at('node_modules/.bin/tsc'), ['-p', 'src/page/tsconfig.json'])
  must(at('node_modules/.bin/biome'), ['check', '--error-on-warnings', '.'])
}

const testFiles = () =>
  ['property-tests', 'test'].flatMap((dir) =>
    readdirSync(at(dir))
      .filter((f) => f.endsWith('.test.ts'))
      .map((f) => join(dir, f))
  )

/** What computes keeps both processors busy; of three files with programs of their own one waits most of the time. */
const COMPUTED = { minutes: 40, atOnce: 2 }
const WAITING = { minutes: 15, atOnce: 3 }
/** How to run these on that Node, which is the first one in PATH too. */
const testRun = (node, files, failures, { minutes, atOnce }) => {
  // A file that hangs fails by its name, and leaves the others their time. No whole file needs a third of this.
  const bound = `--test-timeout=${minutes * 60_000}`
  const options = ['--enable-source-maps', '--test', bound, `--test-reporter=${at('scripts/reporter.mjs')}`]
  return {
    command: node,
    argv: [...options, `--test-concurrency=${atOnce}`, ...files.map(compiledOf)],
    env: {
      PATH: `${dirname(node)}:${process.env.PATH}`,
      FAILURES_FILE: failures,
      // Half of the time that all these programs would take; on the long-term release they run as they ship
      ...(node === process.execPath ? { PASST_WARM_UP: 'no' } : {})
    }
  }
}
const runTests = (node, files, failures) => {
  console.error(`${files.length} files of tests on ${node}`)
  const { command, argv, env } = testRun(node, files, failures, WAITING)
  return run(command, argv, { env: { ...process.env, ...env } })
}
const isProperty = (file) => file.startsWith('property-tests/')
/** What needs processors only: no sockets, no other programs that wait for something. */
const isComputed = (file) => isProperty(file) || file === 'test/fuzz.test.ts'
/** Numbers in, numbers out: machines beside machines. They take the longest. */
const isArithmetic = (file) =>
  /^property-tests\/(compile|nat|port-scan|rate-limit|record-middle|tcp|udp)/.test(file)
/** Codecs and machines use nothing of Node's (biome.json); the runtime does. */
const isOfRuntime = (file) => readFileSync(at(file), 'utf8').includes("from '../src/runtime/")
/** What may differ from one Node to the next: its library, the addon, threads and signals, the sandbox, the snapshot. */
const dependsOnNode = (file) =>
  (isProperty(file) && !isArithmetic(file) && isOfRuntime(file)) ||
  /^test\/(launcher|lifecycle|native|robustness|sandbox|splice-direct|start-failure)\.test\.ts$/.test(file)
const OURS = 'the installed Node'
const LONG_TERM = 'the long-term release of Node'
/** What ran: on which Node, the file that has its failures, its status. */
const onOurs = (files, told) => ({ on: OURS, told, status: runTests(process.execPath, files, told) })
/** The same on the newest long-term release; the snapshot is that one's while they run. */
const onLongTerm = (files, told) => {
  const node = longTermNode()
  snapshot(node)
  try {
    return { on: LONG_TERM, told, status: runTests(node, files, told) }
  } finally {
    snapshot()
  }
}

/** All tests: what computes beside what waits. */
const allTests = async (dir) => {
  const files = testFiles()
  const [computed, others] = [files.filter(isComputed), files.filter((f) => !isComputed(f))]
  const [toldFirst, toldSecond, told, toldLongTerm] = [0, 1, 2, 3].map((k) => join(dir, `${k}`))
  const log = join(dir, 'log')
  const ran = beside(
    [
      testRun(process.execPath, computed, told, COMPUTED),
      testRun(longTermNode(), computed.filter(dependsOnNode), toldLongTerm, COMPUTED)
    ],
    log
  )
  const waited = [onOurs(others, toldFirst), onLongTerm(others.filter(dependsOnNode), toldSecond)]
  const [status, statusLongTerm] = await ran
  process.stdout.write(readFileSync(log))
  return [
    ...waited,
    { on: OURS, told, status },
    { on: LONG_TERM, told: toldLongTerm, status: statusLongTerm }
  ]
}
/** Property tests alone take neither root nor programs. */
const needsTools = () => {
  const files = args.filter((arg) => arg !== '--long-term').map((f) => relative(root, resolve(root, f)))
  return files.length === 0 || !files.every(isProperty)
}
/** `npm test -- [--long-term] FILE...`: these files alone, on one Node. */
const someTests = (told, [first, ...rest]) =>
  first === '--long-term'
    ? onLongTerm(rest.length > 0 ? rest : testFiles().filter(dependsOnNode), told)
    : onOurs([first, ...rest], told)

const tasks = {
  build,
  start: () => {
    build()
    process.exit(
      run(at('bin/pasta'), ['--config-net', ...args], { cwd: process.env.INIT_CWD ?? process.cwd() })
    )
  },
  lint: () => {
    install()
    lint()
  },
  test: async () => {
    install()
    await compile()
    const missing = args.filter((file) => !file.startsWith('--') && !existsSync(compiledOf(file)))
    if (missing.length > 0) {
      console.error(`no such file of tests: ${missing.join(' ')}`)
      process.exit(1)
    }
    build()
    if (needsTools()) must(process.execPath, [at('scripts/tools.mjs')])
    lint()
    const dir = mkdtempSync(join(tmpdir(), 'passt-tests-'))
    const runs = args.length === 0 ? await allTests(dir) : [someTests(join(dir, 'told'), args)]
    // The last lines of a long log are what one gets to see of a run elsewhere.
    const failed = runs.filter(({ status }) => status !== 0)
    for (const { on, told } of failed)
      console.error(`tests failed on ${on}\n${existsSync(told) ? readFileSync(told, 'utf8') : ''}`)
    rmSync(dir, { recursive: true })
    process.exit(failed.length > 0 ? 1 : 0)
  },
  soak: () => {
    build()
    process.exit(run(process.execPath, ['--import', 'tsx', at('test/soak.ts'), ...args]))
  },
  // A machine by hand, or its graph: pure TypeScript, nothing is built.
  explore: () => {
    install()
    process.exit(run(process.execPath, ['--import', 'tsx', at('scripts/explore.ts'), ...args]))
  },
  // What `npm pack` packs: codecs, machines, simulator, judge and what tests them, as ES modules with types.
  library: () => {
    install()
    rmSync(at('lib'), { recursive: true, force: true })
    must(process.execPath, [at('node_modules/typescript/bin/tsc'), '-p', at('tsconfig.library.json')])
  },
  // What the package exports, as pages.
  'api-docs': () => {
    install()
    installIn(at('scripts/typedoc'))
    const typedoc = at('scripts/typedoc/node_modules/typedoc/bin/typedoc')
    must(process.execPath, [typedoc, '--options', at('scripts/typedoc/typedoc.config.mjs')])
  },
  fuzz: () => {
    install()
    process.exit(run(process.execPath, [at('fuzz/run.mjs'), ...args]))
  },
  // Does a test notice when the program is changed? (docs/verification.md)
  mutation: () => {
    install()
    installIn(at('scripts/mutation'))
    const stryker = at('scripts/mutation/node_modules/@stryker-mutator/core/bin/stryker.js')
    process.exit(
      run(process.execPath, [stryker, 'run', at('scripts/mutation/stryker.config.mjs')], {
        env: { ...process.env, MUTATION: args.join(' ') }
      })
    )
  },
  'install-system': () => {
    build()
    process.exit(run(process.execPath, [at('scripts/install-system.mjs'), ...args]))
  },
  bench: () => {
    build()
    process.exit(run(process.execPath, ['--import', 'tsx', at('bench/run.ts'), ...args]))
  },
  'bench-blackout': () => {
    build()
    process.exit(run(process.execPath, ['--import', 'tsx', at('bench/blackout.ts'), ...args]))
  },
  'bench-live': () => {
    build()
    process.exit(run(process.execPath, ['--import', 'tsx', at('bench/live.ts'), ...args]))
  }
}

const chosen = tasks[task]
if (chosen === undefined) {
  console.error(`unknown task ${task}; one of ${Object.keys(tasks).join(' ')}`)
  process.exit(1)
}
await chosen()
