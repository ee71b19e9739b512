// passt-judge as a program, and on what Linux's own TCP does: no finding of MUST, with loss, without options, at both ends. And ours.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import fc from 'fast-check'
import { FAULTS } from '../property-tests/judge-faults.js'
import { arbConfig, capture, conversation, pcapOf } from '../property-tests/judge-traces.js'
import { repo } from './lib/world.js'

const dir = mkdtempSync(join(tmpdir(), 'judge-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const program = join(repo, 'bin/passt-judge')

interface Report {
  readonly frames: number
  readonly connections: number
  readonly must: number
  readonly cut: boolean
  readonly findings: readonly { readonly rule: string; readonly severity: string; readonly frame: number }[]
}
const run = (argv: readonly string[], input?: Uint8Array) =>
  spawnSync(program, argv, {
    encoding: 'utf8',
    timeout: 60_000,
    ...(input === undefined ? {} : { input })
  })
const judge = (path: string, ...options: readonly string[]): Report => {
  const r = run(['--json', ...options, path])
  assert.equal(r.stderr, '')
  return JSON.parse(r.stdout) as Report
}

describe('the program', () => {
  const [config] = fc.sample(arbConfig, { numRuns: 1, seed: 1 })
  const honest = conversation(config!, 'close')
  const fault = FAULTS.find((f) => f.rule === 'reserved-bits')!
  const { trace, at } = fault.plant(honest, () => 0, config!)
  const [good, bad] = [pcapOf(capture(honest)), pcapOf(capture(trace))]
  const file = (name: string, bytes: Uint8Array): string => {
    writeFileSync(join(dir, name), bytes)
    return join(dir, name)
  }
  test('exit status 0, and a summary, for a capture without findings', () => {
    const r = run([file('good.pcap', good)])
    assert.equal(r.stderr, '')
    assert.match(r.stdout, /^\d+ frames, 1 TCP connection: 0 findings of MUST, 0 of SHOULD\n$/)
    assert.equal(r.status, 0)
  })
  test('exit status 1, and each finding, for one with some', () => {
    const path = file('bad.pcap', bad)
    const r = run([path])
    assert.match(r.stdout, new RegExp(`^frame ${at + 1} .* MUST {2}RFC 9293 §3.1 {2}reserved-bits$`, 'm'))
    assert.equal(r.status, 1)
    const { must, findings } = judge(path)
    assert.deepEqual(
      [must, findings.map((f) => [f.rule, f.severity, f.frame])],
      [1, [['reserved-bits', 'MUST', at + 1]]]
    )
    assert.equal(run(['-i', 'reserved-bits', path]).status, 0)
    assert.match(run(['-m', '0', path]).stdout, /^and 1 finding more$/m)
  })
  test('from standard input', () => {
    assert.equal(run(['-'], good).status, 0)
    assert.equal(run(['-'], bad).status, 1)
  })
  test('a capture that ends in the middle of a record', () => {
    const r = run([file('cut.pcap', good.subarray(0, -1))])
    assert.match(r.stdout, /the last record of the capture is cut/)
    assert.equal(r.status, 0)
  })
  test('exit status 2 for what is no capture, is not there, or for wrong usage', () => {
    for (const argv of [
      [file('empty', new Uint8Array(0))],
      [file('text', Buffer.from('no capture at all, but long enough'))],
      [join(dir, 'nowhere')],
      [dir],
      [],
      ['a', 'b'],
      ['--severity=WELL', 'a'],
      ['--nonsense', 'a']
    ]) {
      const r = run(argv)
      assert.equal(r.status, 2, argv.join(' '))
      assert.match(r.stderr, /^passt-judge: [^\n]+\n$/)
    }
  })
  test('--help, --version, --rules', () => {
    assert.match(run(['--help']).stdout, /^Usage: passt-judge/)
    assert.match(run(['--version']).stdout, /^passt-judge \d/)
    assert.match(run(['--rules']).stdout, /^ack-beyond {2}MUST {2}RFC 9293 §3.4$/m)
  })
})

describe('TCP of', { concurrency: true }, () => {
  const bare = ['timestamps', 'sack', 'window_scaling'].map((s) => `net.ipv4.tcp_${s}=0`)
  const cases: readonly (readonly [string, ...string[]])[] = [
    ['Linux, with offloads', '0', 'on'],
    ['Linux, with loss', '30mbit', 'off'],
    ['Linux, with loss, without options', '30mbit', 'off', ...bare]
  ]
  const traffic = async (script: string, ...argv: readonly string[]): Promise<void> => {
    const child = spawn('unshare', ['--net', '--mount', join(repo, 'test/lib', script), ...argv], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 180_000
    })
    let told = ''
    child.stderr.on('data', (b: Buffer) => (told += b.toString()))
    const status = await new Promise((done) => child.on('close', done))
    assert.equal(status, 0, told)
  }
  for (const [name, ...argv] of cases)
    test(name, async () => {
      const out = join(dir, name)
      mkdirSync(out)
      await traffic('judge_net.sh', out, ...argv)
      for (const end of ['a', 'b']) {
        const r = judge(join(out, `${end}.pcap`))
        assert.deepEqual(
          r.findings.filter((f) => f.severity === 'MUST'),
          [],
          end
        )
        assert.ok(r.connections === 15 && r.frames > 500 && !r.cut, JSON.stringify(r))
      }
    })
  test('pasta, with Linux in the namespace, both ways', async () => {
    const out = join(dir, 'pasta')
    await traffic('judge_user.sh', 'pasta', join(repo, 'bin/pasta'), out)
    const r = judge(join(out, 'x.pcap'), '--ordered')
    // docs/judge.md: the peer refuses; the RST has the number that the SYN,ACK would have had
    const known = r.findings.filter((f) => f.rule === 'reset-form').length
    assert.ok(known <= 2 && r.findings.length === known, JSON.stringify(r.findings))
    assert.ok(r.connections === 31 && r.frames > 500 && !r.cut, JSON.stringify(r))
  })
})
