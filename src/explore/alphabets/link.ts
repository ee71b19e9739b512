import type { HandOverQuestion } from '../../codecs/control/hand-over.js'
import { SKIPPED } from '../../codecs/control/migration.js'
import { fromV4, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { octets } from '../../codecs/value/octets.js'
import { seq } from '../../codecs/value/seq.js'
import { instant } from '../../effects/effect.js'
import { guestLinkMachine, MESSAGE_PERIOD } from '../../machines/link/guest-link.js'
import { handOverMachine } from '../../machines/link/hand-over.js'
import { migrationSourceMachine, type SourceContext } from '../../machines/link/migration-source.js'
import { BATCH_MAX } from '../../machines/link/migration-steps.js'
import { migrationTargetMachine } from '../../machines/link/migration-target.js'
import { modeOf, OFFERS, type VhostEvent, vhostSessionMachine } from '../../machines/link/vhost-session.js'
import { type At, alphabet, atLeast, lettersOf } from '../alphabet.js'

// The guest's link and what moves over it: who is served, a vhost-user session, both sides of a live migration.

const g = lettersOf<typeof guestLinkMachine>()
export const guestLink = alphabet<typeof guestLinkMachine>({
  machine: guestLinkMachine,
  inputs: { usual: { oneOff: false }, 'one-off': { oneOff: true } },
  letters: [
    g('client', 'a hypervisor connects', ({ now }) => ({
      type: 'CLIENT',
      fd: 7,
      pid: 42,
      hungUp: false,
      now
    })),
    g('client-next', 'another one, and the first has hung up', ({ now }) => ({
      type: 'CLIENT',
      fd: 8,
      pid: 43,
      hungUp: true,
      now
    })),
    g('fd', '--fd: connected from the start', () => ({ type: 'FD_GIVEN', fd: 3 })),
    g('gone', 'the client has closed its connection', () => ({ type: 'CLIENT_GONE', errno: 0 })),
    g('broken', 'the client says what cannot be', ({ now }) => ({
      type: 'BROKEN',
      why: 'a frame of 0 octets',
      now
    })),
    g('broken-later', 'the same, when it is news again', ({ now }) => ({
      type: 'BROKEN',
      why: 'a frame of 0 octets',
      now: instant(now + MESSAGE_PERIOD)
    })),
    g('moved', 'the guest was moved to another host', () => ({ type: 'GUEST_MOVED' }))
  ],
  abstract: (c) =>
    [
      c.oneOff ? 'one-off' : '',
      c.next.fd >= 0 ? 'another waits' : '',
      c.badSaid === null ? '' : 'told',
      c.refusalSaid === null ? '' : 'refusal told'
    ]
      .filter((x) => x !== '')
      .join(', '),
  world: []
})

// --- vhost-user

const v = lettersOf<typeof vhostSessionMachine>()
/** VERSION_1, and PROTOCOL_FEATURES (virtio 1.2 §6). */
const VERSION_1 = 1n << 32n
const PROTOCOL = 1n << 30n
const REGION = { gpa: 0n, size: 1n << 20n, user: 0x7f00_0000_0000n, offset: 0n }
const ADDRESSES = {
  logged: false,
  desc: REGION.user,
  avail: REGION.user + 0x1000n,
  used: REGION.user + 0x2000n,
  log: 0n
}
type Request = Extract<VhostEvent, { readonly fds: readonly number[]; readonly needReply: boolean }>
const request = <R extends Request>(
  name: string,
  says: string,
  r: Omit<R, 'needReply' | 'fds'>,
  fds: number[] = []
) => v(name, says, () => ({ ...r, needReply: false, fds }) as unknown as VhostEvent)
const plain = (name: string, says: string, r: object, fds: number[] = []) =>
  request(name, says, r as never, fds)

export const vhostSession = alphabet<typeof vhostSessionMachine>({
  machine: vhostSessionMachine,
  inputs: { usual: { offer: OFFERS.all } },
  letters: [
    v('connected', 'a front-end connects', () => ({ type: 'CONNECTED' })),
    v('disconnected', 'it is gone', () => ({ type: 'DISCONNECTED' })),
    plain('get-features', 'what can be had?', { type: 'GET_FEATURES' }),
    plain('features', 'what the guest takes', { type: 'SET_FEATURES', features: VERSION_1 | PROTOCOL }),
    plain('features-bare', 'the same, from a front-end without protocol features', {
      type: 'SET_FEATURES',
      features: VERSION_1
    }),
    plain('features-legacy', 'a driver without VERSION_1', { type: 'SET_FEATURES', features: 0n }),
    plain('get-protocol', 'what of the protocol can be had?', { type: 'GET_PROTOCOL_FEATURES' }),
    plain('protocol', 'what of it is taken', { type: 'SET_PROTOCOL_FEATURES', features: 8n }),
    plain('owner', 'it is the owner', { type: 'SET_OWNER' }),
    plain('reset-owner', 'it is not', { type: 'RESET_OWNER' }),
    plain('queues', 'how many queues?', { type: 'GET_QUEUE_NUM' }),
    plain('slots', 'how many regions of memory?', { type: 'GET_MAX_MEM_SLOTS' }),
    plain('memory', "the guest's memory", { type: 'SET_MEM_TABLE', regions: [REGION] }, [10]),
    v('memory-told', 'the same, and a word is awaited', () => ({
      type: 'SET_MEM_TABLE',
      regions: [REGION],
      needReply: true,
      fds: [10]
    })),
    plain('add-region', 'one more region', { type: 'ADD_MEM_REG', region: REGION }, [11]),
    plain('remove-region', 'one less', { type: 'REM_MEM_REG', region: REGION }),
    plain('log', 'where what is written is noted', { type: 'SET_LOG_BASE', size: 4096n, offset: 0n }, [12]),
    plain('log-fd', 'how that is told', { type: 'SET_LOG_FD' }, [13]),
    plain('ring-size', 'ring 0 has 256 entries', { type: 'SET_VRING_NUM', ring: 0, entries: 256 }),
    plain('ring-addresses', 'where ring 0 is', { type: 'SET_VRING_ADDR', ring: 0, addresses: ADDRESSES }),
    plain('ring-base', 'where it goes on', { type: 'SET_VRING_BASE', ring: 0, next: 0 }),
    plain('get-ring-base', 'ring 0 stops: where is it?', { type: 'GET_VRING_BASE', ring: 0 }),
    plain('kick', 'ring 0 starts', { type: 'SET_VRING_KICK', ring: 0, none: false }, [14]),
    plain('call', 'how the guest is told', { type: 'SET_VRING_CALL', ring: 0, none: false }, [15]),
    plain('err', 'how a fault is told', { type: 'SET_VRING_ERR', ring: 0, none: false }, [16]),
    plain('enable', 'ring 0 may be used', { type: 'SET_VRING_ENABLE', ring: 0, enable: true }),
    plain('disable', 'ring 0 may not', { type: 'SET_VRING_ENABLE', ring: 0, enable: false }),
    plain('rarp', 'tell the network where the guest is', { type: 'SEND_RARP', mac: 0x5254_0000_0001 }),
    plain(
      'save-state',
      "write the guest's state",
      { type: 'SET_DEVICE_STATE_FD', direction: 0, phase: 0 },
      [17]
    ),
    plain('load-state', 'read it', { type: 'SET_DEVICE_STATE_FD', direction: 1, phase: 0 }, [18]),
    plain('check', 'how did it go?', { type: 'CHECK_DEVICE_STATE' }),
    plain('other', 'a request that nobody knows', { type: 'OTHER', id: 99 }),
    v('malformed', 'a message that cannot be', () => ({ type: 'MALFORMED', text: 'version 0', fds: [] })),
    v('spare', 'descriptors that nobody asked for', () => ({ type: 'SPARE_FDS', fds: [19] })),
    v('done', 'native has done it', () => ({ type: 'DONE', errno: 0 })),
    v('done-badly', 'native could not', () => ({ type: 'DONE', errno: 12 })),
    v('stopped', 'ring 0 stands still', () => ({ type: 'VRING_STOPPED', ring: 0, next: 5 })),
    v('ring-broken', 'what is in ring 0 cannot be', () => ({
      type: 'VRING_BROKEN',
      ring: 0,
      reason: 2,
      detail: 9
    })),
    v('transferred', 'the state is written, or read', () => ({ type: 'TRANSFER_DONE', ok: true })),
    v('not-transferred', 'it could not be', () => ({ type: 'TRANSFER_DONE', ok: false }))
  ],
  abstract: (c, leaf) => {
    const r = c.rings[0]!
    // Once a state moves it does not matter where the rings are.
    if (c.transfer !== null)
      return `${modeOf(r)}, ${c.transfer.direction} ${c.transfer.outcome}${c.saved ? ', saved' : ''}`
    return [
      c.memory ? 'memory' : '',
      r.entries > 0 ? 'size' : '',
      r.kept === null ? '' : 'addresses',
      modeOf(r),
      r.started || !r.enabled ? '' : 'enabled at start',
      leaf === 'session.applying' ? `${c.asked.request}${c.asked.needReply ? ', awaited' : ''}` : ''
    ]
      .filter((x) => x !== '')
      .join(', ')
  },
  world: [
    { effect: 'VhostMemory', letters: ['done'] },
    { effect: 'VhostAddRegion', letters: ['done'] },
    { effect: 'VhostRemoveRegion', letters: ['done'] },
    { effect: 'VhostLog', letters: ['done'] },
    { effect: 'VringAddr', letters: ['done'] },
    { effect: 'VringStop', letters: ['stopped'] },
    { effect: 'StateTransfer', letters: ['transferred'] }
  ]
})

// --- migration

const flows = (n: number): readonly number[] => Array.from({ length: n }, (_, i) => i + 10)
const late = (c: { readonly deadline: number }, now: number) => atLeast(now, c.deadline)

const s = lettersOf<typeof migrationSourceMachine>()
const save = (name: string, says: string, n: number) =>
  s(name, says, ({ now }) => ({ type: 'SAVE', fd: 9, moving: flows(n), stopping: [], now }))
const sourceOn = (name: string, says: string, type: 'SETTLED' | 'CHECKED' | 'RESUMED' | 'GONE' | 'SESSION') =>
  s(name, says, ({ now }) => ({ type, now }))
/** Its socket is what the stream waits for. */
const dumped =
  (extended: typeof SKIPPED | null) =>
  ({ context: c, now }: At<SourceContext>) => {
    const flow = c.flows[c.written]
    return flow === undefined || c.written >= c.dumped
      ? null
      : ({ type: 'DUMPED', flow, extended, now } as const)
  }
export const migrationSource = alphabet<typeof migrationSourceMachine>({
  machine: migrationSourceMachine,
  inputs: {
    usual: { exit: false, linger: true },
    'no-linger': { exit: false, linger: false },
    exit: { exit: true, linger: true }
  },
  letters: [
    s('helper', 'a helper connects', ({ now }) => ({ type: 'HELPER', there: true, now })),
    s('no-helper', 'the helper is gone', ({ now }) => ({ type: 'HELPER', there: false, now })),
    save('move', 'the front-end asks for the state of two connections', 2),
    save('move-none', 'of none', 0),
    save('move-many', `of more than one batch of ${BATCH_MAX}`, BATCH_MAX + 1),
    sourceOn('settled', 'all results are in', 'SETTLED'),
    s('repaired', 'the helper has done its batch', ({ now }) => ({ type: 'REPAIRED', errno: 0, now })),
    s('repaired-badly', 'the helper has failed', ({ now }) => ({ type: 'REPAIRED', errno: 32, now })),
    s('dumped', 'a socket has been read', dumped({ ...SKIPPED, sendQueue: 10, receiveQueue: 10 })),
    s('not-dumped', 'it could not be read', dumped(null)),
    s('written', 'all that was given is in the pipe', ({ context: c, now }) => ({
      type: 'WRITTEN',
      octets: c.given,
      now
    })),
    s('ended', 'the pipe is closed', ({ now }) => ({ type: 'STATE_ENDED', errno: 0, now })),
    s('pipe-failed', 'the pipe has failed', ({ now }) => ({ type: 'STATE_ENDED', errno: 32, now })),
    s('flow-ended', 'the first connection has ended by itself', ({ now }) => ({
      type: 'FLOW_ENDED',
      flow: 10,
      now
    })),
    sourceOn('checked', 'the front-end knows how it went', 'CHECKED'),
    sourceOn('resumed', "the guest's rings run again", 'RESUMED'),
    sourceOn('gone', 'the client is gone', 'GONE'),
    sourceOn('session', "another client's session begins", 'SESSION'),
    s('deadline', 'the deadline has passed', ({ context: c, now }) => ({
      type: 'DEADLINE',
      now: late(c, now)
    })),
    s('deadline-early', 'a deadline passes for nothing', ({ context: c, now }) =>
      c.deadline > 0 && now >= c.deadline ? null : { type: 'DEADLINE', now }
    )
  ],
  abstract: (c, leaf) =>
    leaf === 'idle' || leaf === 'away'
      ? c.helper
        ? 'helper'
        : ''
      : [
          c.helper ? 'helper' : '',
          c.flows.length > BATCH_MAX ? 'many' : c.flows.length > 0 ? 'some' : 'none',
          c.asked === 0 ? '' : c.asked < c.flows.length ? 'some asked' : 'all asked',
          c.lost.get(10) ?? '',
          c.stays ? 'stays' : '',
          c.closing ? 'closing' : '',
          c.deadline > 0 ? 'deadline' : '',
          c.back === 0 ? '' : 'some back'
        ]
          .filter((x) => x !== '')
          .join(', '),
  // Of two batches what can differ is the helper's part; of all else one says enough.
  only: ({ context: c, leaf }) =>
    c.flows.length > BATCH_MAX && !['idle', 'away'].includes(leaf)
      ? ['helper', 'settled', 'repaired', 'repaired-badly', 'resumed', 'deadline']
      : null,
  world: [
    { effect: 'Freeze', letters: ['settled'] },
    { effect: 'Repair', letters: ['repaired'] },
    { effect: 'Dump', letters: ['dumped'] },
    { effect: 'WriteSocket', letters: ['written'] },
    { effect: 'StateClose', letters: ['ended'] }
  ]
})

const t = lettersOf<typeof migrationTargetMachine>()
const SIDE = { where: 1, own: fromV4(1), peer: fromV4(2), ownPort: 1, peerPort: 2 }
const ZERO = seq(0)
const FLOW = {
  sides: [SIDE, { ...SIDE, where: 2 }] as const,
  retries: 0,
  guestScale: 7,
  ourScale: 8,
  events: 4,
  mss: 1460,
  sndBuf: 160,
  flags: 0,
  dupAck: 0,
  guestWindow: 500,
  ourWindow: 500,
  sndNxt: ZERO,
  sndUna: ZERO,
  rcvNxt: ZERO,
  rcvAcked: ZERO,
  irs: ZERO
}
const at0 = { index: 0 } as const
const targetOn = (name: string, says: string, type: 'GUEST_UP' | 'DROPPED' | 'GONE' | 'STATE_END') =>
  t(name, says, ({ now }) => ({ type, now }))
const count = (name: string, says: string, n: number) =>
  t(name, says, ({ now }) => ({ type: 'STATE_COUNT', flows: n, now }))
export const migrationTarget = alphabet<typeof migrationTargetMachine>({
  machine: migrationTargetMachine,
  inputs: { usual: undefined },
  letters: [
    t('helper', 'a helper connects', ({ now }) => ({ type: 'HELPER', there: true, now })),
    t('no-helper', 'the helper is gone', ({ now }) => ({ type: 'HELPER', there: false, now })),
    t('load', 'the front-end has a state for us', ({ now }) => ({ type: 'LOAD', fd: 9, now })),
    t('addresses', "the guest's addresses", ({ now }) => ({
      type: 'STATE_ADDRESSES',
      addresses: { v6: UNSPECIFIED6, linkLocal: UNSPECIFIED6, v4: fromV4(0x0a000002), mac: 0x5254_0000_0001 },
      now
    })),
    count('count-none', 'there is no connection', 0),
    count('count', 'there are two connections', 2),
    count('count-many', 'there are more than one batch of them', BATCH_MAX + 1),
    count('count-mad', 'there are more than can be', 0x7fff_ffff),
    t('flow', 'a connection', ({ now }) => ({ type: 'STATE_FLOW', ...at0, flow: FLOW, now })),
    t('socket', 'its socket', ({ now }) => ({
      type: 'STATE_EXTENDED',
      ...at0,
      extended: { ...SKIPPED, state: 1 },
      now
    })),
    t('skipped', 'that it does not move', ({ now }) => ({
      type: 'STATE_EXTENDED',
      ...at0,
      extended: SKIPPED,
      now
    })),
    t('queue', 'what waits in it', ({ now }) => ({
      type: 'STATE_QUEUE',
      ...at0,
      which: 'sent',
      octets: octets(new Uint8Array(3)),
      now
    })),
    t('flow-end', 'that was all of it', ({ now }) => ({ type: 'STATE_FLOW_END', ...at0, now })),
    targetOn('state-end', 'that was all', 'STATE_END'),
    t('piece', 'a piece is read: all of this part', ({ context: c, now }) => ({
      type: 'PIECE',
      octets: Math.max(1, c.left),
      now
    })),
    t('piece-short', 'a piece is read, and more of this part comes', ({ now }) => ({
      type: 'PIECE',
      octets: 1,
      now
    })),
    t('faulty', 'what was read makes no sense', ({ now }) => ({ type: 'FAULTY', text: 'wrong magic', now })),
    t('ended', 'the pipe has ended', ({ now }) => ({ type: 'STATE_ENDED', errno: 0, now })),
    t('pipe-failed', 'the pipe has failed', ({ now }) => ({ type: 'STATE_ENDED', errno: 5, now })),
    t('repaired', 'the helper has done its batch', ({ now }) => ({ type: 'REPAIRED', errno: 0, now })),
    t('repaired-badly', 'the helper has failed', ({ now }) => ({ type: 'REPAIRED', errno: 32, now })),
    t('lost', 'a connection is lost', ({ now }) => ({ type: 'LOST', ...at0, why: 'not-restored', now })),
    targetOn('dropped', 'all losses are known', 'DROPPED'),
    targetOn('guest-up', 'the guest runs here', 'GUEST_UP'),
    targetOn('gone', 'the client is gone', 'GONE'),
    t('deadline', 'the deadline has passed', ({ context: c, now }) => ({
      type: 'DEADLINE',
      now: late(c, now)
    })),
    t('deadline-early', 'a deadline passes for nothing', ({ context: c, now }) =>
      c.deadline > 0 && now >= c.deadline ? null : { type: 'DEADLINE', now }
    )
  ],
  abstract: (c, leaf) =>
    leaf === 'idle'
      ? c.helper
        ? 'helper'
        : ''
      : [
          c.helper ? 'helper' : '',
          c.flows === 0 ? 'none' : c.flows > BATCH_MAX ? 'many' : 'some',
          c.whole ? 'whole' : '',
          c.skipping ? 'skipping' : '',
          c.deadline > 0 ? 'deadline' : '',
          c.lost === null ? '' : 'lost',
          c.asked === 0 ? '' : c.asked < c.flows ? 'some asked' : 'all asked',
          c.running === 0 ? '' : 'some run',
          c.addresses === null ? '' : 'addresses'
        ]
          .filter((x) => x !== '')
          .join(', '),
  // Losses are counted; one is enough.
  only: ({ context: c }) => (c.lost === null ? null : ['piece', 'ended', 'guest-up', 'repaired', 'dropped']),
  world: [
    { effect: 'RepairSome', letters: ['repaired'] },
    { effect: 'DropSome', letters: ['dropped'] }
  ]
})

// --- restart in place

const h = lettersOf<typeof handOverMachine>()
const asks = (name: string, says: string, question: HandOverQuestion) =>
  h(name, says, ({ now }) => ({ type: 'ASKED', question, now }))
export const handOver = alphabet<typeof handOverMachine>({
  machine: handOverMachine,
  inputs: { usual: {} },
  letters: [
    h('peer', 'a process that is to take our place has connected', ({ now }) => ({
      type: 'PEER',
      there: true,
      now
    })),
    h('peer-gone', 'it is gone', ({ now }) => ({ type: 'PEER', there: false, now })),
    asks('begin', 'it asks what we have', { ask: 'begin', version: 1, mode: 'pasta', api: true }),
    asks('listeners', 'it asks where we listen', { ask: 'listeners', from: 0 }),
    asks('take', 'it is ready: we are to stand still', { ask: 'take' }),
    asks('flows', 'it asks for flows', { ask: 'flows', from: 0 }),
    asks('rest', "it asks for what the guest's link has left", { ask: 'rest', from: 0 }),
    asks('session', 'it asks for the vhost-user session', { ask: 'session' }),
    asks('done', 'it has all', { ask: 'done', taken: 1, lost: 0 }),
    h('faulty', 'it says what is no question', ({ now }) => ({ type: 'FAULTY', now })),
    h('settled', 'results of what was asked for before are in', ({ now }) => ({ type: 'SETTLED', now })),
    h('deadline', 'it takes too long', ({ context: c, now }) =>
      c.deadline === 0 ? null : { type: 'DEADLINE', now: atLeast(now, c.deadline) }
    ),
    h('deadline-early', 'a deadline passes for nothing', ({ context: c, now }) =>
      c.deadline > 0 && now >= c.deadline ? null : { type: 'DEADLINE', now }
    )
  ],
  abstract: (c) => (c.deadline > 0 ? 'timed' : ''),
  world: [
    { effect: 'StandStill', letters: ['settled'] },
    { effect: 'HangUp', letters: ['peer-gone'] }
  ]
})
