// The package that `npm pack` makes, in a project of its own: what docs/verification.md shows.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { repo } from './lib/cache.js'

const dir = mkdtempSync(join(tmpdir(), 'library-'))
const run = (command: string, args: ReadonlyArray<string>, cwd: string = dir): string => {
  const r = spawnSync(command, args, { cwd, encoding: 'utf8', timeout: 240_000 })
  assert.equal(r.status, 0, `${command} ${args.join(' ')}: ${r.error?.message ?? ''}${r.stdout}${r.stderr}`)
  return r.stdout
}
const examples = [
  ...readFileSync(join(repo, 'docs/verification.md'), 'utf8').matchAll(/^```js\n(.*?)^```/gms)
].map(([, code]) => code!)

describe('the package', () => {
  before(() => {
    run('npm', ['pack', '--silent', '--pack-destination', dir], repo)
    writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'mine', private: true, type: 'module' }))
    const { devDependencies } = JSON.parse(readFileSync(join(repo, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>
    }
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error', '--prefer-offline']
    run('npm', [
      'install',
      ...quiet,
      './passt-ts-0.1.0.tgz',
      ...['fast-check', 'typescript'].map((name) => `${name}@${devDependencies[name]}`)
    ])
  })
  after(() => rmSync(dir, { recursive: true }))

  test('has no native code, and nothing that is built when it is installed', () => {
    const files = run('tar', ['-tf', 'passt-ts-0.1.0.tgz'])
    assert.match(files, /^package\/lib\/src\/codecs\/wire\/tcp\.d\.ts$/m)
    assert.doesNotMatch(files, /\.(cc|h|gyp|node)$/m)
  })
  test('a machine under a property', () => {
    writeFileSync(join(dir, 'machine.js'), examples[0]!)
    assert.equal(run('node', ['machine.js']), 'a UDP flow ends\n')
  })
  test('a TCP of its own before the judge', () => {
    writeFileSync(join(dir, 'tcp.js'), examples[1]!)
    const said = run('node', ['tcp.js'])
    assert.equal(
      said,
      'frame 5, 192.0.2.2:80: data-after-fin: data up to 5007; allowed: up to the FIN at 5001\n'
    )
  })
  test('all that it exports is there, with types that hold', () => {
    writeFileSync(
      join(dir, 'types.ts'),
      [
        "import type { Effect } from 'passt-ts/effects/effect'",
        "import { graphOf } from 'passt-ts/explore/graph'",
        "import { arbU16 } from 'passt-ts/arbitraries'",
        "import { scenario } from 'passt-ts/arbitraries/tcp'",
        "import { TcpPacket } from 'passt-ts/codecs/wire/tcp'",
        "import { World } from 'passt-ts/simulator/tcp'",
        "const e: Effect = { type: 'CancelTimer', timer: 'rto' }",
        'const wrong: string = TcpPacket.name.length',
        'console.log(e.type, graphOf, arbU16, scenario, World, wrong)'
      ].join('\n')
    )
    const options = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--skipLibCheck', '--noEmit']
    const r = spawnSync('node', ['node_modules/typescript/bin/tsc', ...options, 'types.ts'], {
      cwd: dir,
      encoding: 'utf8'
    })
    // The one fault that was put there
    assert.match(r.stdout, /^types\.ts\(8,7\): error TS2322: .*\n$/)
  })
})
