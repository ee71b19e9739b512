// What programs write. Somebody reads no further, or there is no room: no stack, and the status says what was asked. Files that are named twice.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chownSync,
  copyFileSync,
  existsSync,
  lchownSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { isPeer, repo } from './lib/world.js'

const record = join(repo, 'docs/lessons/records/closing.rec')
const capture = join(repo, 'docs/lessons/records/hasty.pcap')
const commands: ReadonlyArray<readonly [string, ReadonlyArray<string>, number]> = [
  ['pasta', ['--help'], 0],
  ['passt', ['--version'], 0],
  ['pesto', ['--help'], 0],
  ['passt-judge', ['--help'], 0],
  ['passt-judge', [capture], 1],
  ['passt-replay', ['--help'], 0],
  ['passt-replay', ['--step', record], 0],
  ['passt-replay', ['--step', '--json', record], 0]
]
const run = (redirection: string, program: string, argv: ReadonlyArray<string>) =>
  spawnSync('bash', ['-c', redirection, '-', join(repo, 'bin', program), ...argv], {
    encoding: 'utf8',
    timeout: 60_000
  })

describe('standard output', { skip: isPeer && 'our programs' }, () => {
  for (const [program, argv, status] of commands) {
    const name = [program, ...argv].join(' ').replaceAll(`${repo}/`, '')
    test(`${name}: nobody reads`, () => {
      const r = run('exec 3> >(exec true); wait $!; "$@" >&3', program, argv)
      assert.deepEqual([r.stderr, r.status], ['', status])
    })
    test(`${name}: no room`, () => {
      const r = run('"$@" > /dev/full', program, argv)
      assert.match(r.stderr, /^\S+: [^\n]*ENOSPC[^\n]*\n$/)
      assert.equal(r.status, status === 1 ? 2 : program.startsWith('passt-') ? 2 : 1)
    })
  }
})

describe('files that passt-replay writes', { skip: isPeer && 'our programs' }, () => {
  test('not over the record, nor over each other; what cannot be written is named', (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'passt-output-'))
    t.after(() => rmSync(dir, { recursive: true }))
    const [file, same, out] = ['a.rec', 'b.rec', 'out'].map((name) => join(dir, name)) as [
      string,
      string,
      string
    ]
    copyFileSync(record, file)
    linkSync(file, same)
    for (const [argv, why] of [
      [['--html', file], `${file}: it would be overwritten`],
      [['--anonymize', same], `${same}: it would be overwritten`],
      [['--shrink', file], `${file}: it would be overwritten`],
      [['--html', out, '--anonymize', out], `${out}: it would be overwritten`],
      [['--html', '/nowhere/x'], '/nowhere/x: ENOENT'],
      [['--anonymize', '/dev/full'], '/dev/full: ENOSPC'],
      [['--until', '3', '--anonymize', out], '--anonymize writes a whole record'],
      [['--flow', '0', '--anonymize', out], '--anonymize writes a whole record']
    ] as const) {
      const r = run('"$@"', 'passt-replay', [...argv, file])
      assert.equal(r.status, 2, argv.join(' '))
      assert.ok(r.stderr.startsWith(`passt-replay: ${why}`), r.stderr)
      assert.ok(readFileSync(file).equals(readFileSync(record)))
      assert.ok(!existsSync(out))
    }
  })
  test("ours alone, but what is made to be handed on; never another user's, nor where his link leads", (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'passt-output-'))
    t.after(() => rmSync(dir, { recursive: true }))
    const path = (name: string) => join(dir, name)
    const write = (option: string, to: string) =>
      run('umask 022; "$@"', 'passt-replay', [option, path(to), record])
    for (const [option, mode] of [
      ['--html', 0o600],
      ['--anonymize', 0o644]
    ] as const) {
      assert.equal(write(option, option).status, 0)
      assert.equal(statSync(path(option)).mode & 0o777, mode, option)
    }
    writeFileSync(path('target'), 'mine')
    writeFileSync(path('theirs'), 'theirs')
    chownSync(path('theirs'), 1000, 1000)
    symlinkSync(path('target'), path('their link'))
    lchownSync(path('their link'), 1000, 1000)
    for (const [to, why] of [
      ['theirs', /theirs: the file that is there belongs to another user\n$/],
      ['their link', /their link: ELOOP/]
    ] as const) {
      const r = write('--html', to)
      assert.match(r.stderr, why)
      assert.equal(r.status, 2)
    }
    assert.deepEqual(
      ['target', 'theirs'].map((name) => readFileSync(path(name), 'utf8')),
      ['mine', 'theirs']
    )
    symlinkSync(path('target'), path('link'))
    assert.equal(write('--html', 'link').status, 0)
    assert.match(readFileSync(path('target'), 'utf8'), /^<!doctype html>/i)
  })
})
