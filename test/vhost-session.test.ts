// passt --vhost-user, message by message and descriptor by descriptor: hypervisors that do what QEMU does, what they might
// do, and what they must not. What goes over the rings is in vhost-rings.test.ts, and in the suites of pasta.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { ask } from './lib/guest.js'
import { calm, type Proc, until } from './lib/proc.js'
import { helper, net, ok, describe as show } from './lib/world.js'

const passt = process.env.PASST ?? '/mnt/repo/bin/passt'
const upstream = passt.includes('/peer/')
const bed = useBed()
let sockets = 0

/** passt in foreground, listening; its socket. */
const start = async (options: ReadonlyArray<string> = []): Promise<readonly [Proc, string]> => {
  const path = `/mnt/w/v${++sockets}`
  const proc = bed.w.start([passt, '-f', '--vhost-user', '-s', path, ...options], { timeout: 240_000 })
  await until('the socket', () => {
    if (!proc.running) throw new Error(proc.stderr)
    return (
      existsSync(join(bed.w.dir, path.slice('/mnt/w/'.length))) && /You can (now )?start/.test(proc.stderr)
    )
  })
  return [proc, path]
}
/** As root, who may count other processes' descriptors. */
const frontend = (scenario: string, args: ReadonlyArray<string | number>): Proc =>
  bed.w.start(['python3', helper('vhost_messages.py'), scenario, ...args.map(String)], {
    uid: 0,
    timeout: 200_000
  })

/** One scenario against a passt of its own, which is there afterwards; its messages. */
const scenario = async (name: string, args: ReadonlyArray<string | number> = []): Promise<string> => {
  const [proc, path] = await start()
  try {
    const r = await frontend(name, [path, ...args]).wait()
    assert.equal(r.code, 0, `${show(r)}\npasst: ${proc.stderr.slice(-3000)}`)
    assert.ok(proc.running, proc.stderr)
  } finally {
    await proc.stop('SIGTERM')
  }
  return proc.stderr
}

type Scenario = readonly [title: string, name: string, args?: ReadonlyArray<string | number>]
/** Each with whether upstream does it. */
const suites: Readonly<Record<string, ReadonlyArray<readonly [boolean, ...Scenario]>>> = {
  'what QEMU does': [
    [true, 'connects, starts, stops, continues', 'qemu'],
    [true, 'stops, resets and starts, 100 times (regression-V13)', 'restarts'],
    [true, 'goes and comes back, 100 times: nothing stays open', 'reconnects'],
    [true, 'a second one is turned away', 'second'],
    [true, 'no more than what must be (regression-V4, regression-V11)', 'minimal'],
    [false, 'an acknowledgement for each message that wants one', 'acknowledged'],
    [true, 'how many queues: pairs', 'queues']
  ],
  'states of a ring': [
    [true, 'enabled before there is memory', 'enabled_first'],
    [false, 'kicked before it is enabled', 'kicked_first'],
    [false, 'disabled: nothing received, transmissions discarded', 'disabled'],
    [false, 'stopped: nothing is touched', 'stopped'],
    [true, 'features set once more: nothing is disabled', 'features_again'],
    [false, 'no descriptor for interrupts', 'no_call'],
    [false, 'no descriptor for kicks', 'no_kick'],
    [true, 'interrupts, and none where none are wanted', 'interrupts'],
    [true, 'indices that wrap, rings of two', 'wraps']
  ],
  memory: [
    [true, 'moves while the rings run', 'moves'],
    [false, 'region by region', 'slots'],
    [true, 'its descriptors are closed', 'no_descriptors'],
    [true, 'each page written to is marked, while that is wanted', 'log'],
    [false, 'a log that is too small', 'small_log']
  ],
  messages: [
    [false, 'octet by octet', 'octets'],
    [true, 'many in one write', 'together'],
    [false, 'cut short, wherever that is', 'cut'],
    [false, 'with descriptors where none belong', 'stray'],
    [false, 'unknown', 'unknown'],
    [false, 'RESET_OWNER', 'reset_owner'],
    [false, 'device state: an honest failure', 'device_state'],
    [false, 'malformed', 'malformed'],
    [false, 'random', 'noise', [200]]
  ],
  rings: [[false, 'that no driver makes', 'hostile']]
}
for (const [suite, scenarios] of Object.entries(suites))
  describe(suite, () => {
    for (const [peer, title, name, args] of scenarios)
      test(title, { skip: upstream && !peer && 'upstream does otherwise' }, async () => {
        await scenario(name, args)
      })
  })

describe('a guest that cannot receive costs no time, and misses no answer', () => {
  for (const [how, number] of [
    ['empty', 'regression-V2'],
    ['disabled', 'regression-V1']
  ] as const)
    test(`its ring is ${how} (${number})`, { skip: upstream && 'upstream spins' }, async () => {
      const [proc, path] = await start(['-t', '8001', '-u', '8001'])
      const guest = frontend('starved', [path, how])
      await guest.sees(/starved/)
      await ask(bed.w, 'world', ['udp-shout', net.host4, 8001, 500])
      const early = bed.w.start(['python3', '-c', EARLY, net.host4], { in: 'world' })
      await early.sees(/connect/)
      await calm([await proc.pid()], 0.1, 1000)
      await guest.signal('SIGUSR1')
      ok(await guest.wait())
      await proc.stop('SIGTERM')
      await early.stop()
    })
})

const EARLY = `
import socket, sys
s = socket.socket()
s.setblocking(False)
s.connect_ex((sys.argv[1], 8001))
print("connecting", flush=True)
import time
time.sleep(60)
`

describe('a file of guest memory that gets shorter while it is mapped', {
  skip: upstream && 'upstream dies'
}, () => {
  for (const what of ['transmitted', 'received', 'rings', 'log'])
    test(`${what}: one message, and the next client is served`, async () => {
      const said = await scenario('truncated', [what])
      const broken = said.split('\n').filter((line) => /broken/.test(line))
      assert.equal(broken.length, 1, said)
      assert.match(broken[0]!, /memory that its file does not have/)
      assert.doesNotMatch(said, /internal error/)
    })
})

describe('--vhost-user', { skip: upstream && 'upstream prints them elsewhere' }, () => {
  test('--print-capabilities, on standard output, whatever else is there', async () => {
    for (const options of [[], ['--vhost-user'], ['-q']]) {
      const r = ok(await bed.w.run([passt, ...options, '--print-capabilities']))
      assert.deepEqual([JSON.parse(r.stdout), r.stderr], [{ type: 'net' }, ''], show(r))
    }
  })
})
