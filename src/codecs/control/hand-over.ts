import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { Base64, inBase64 } from '../value/base64.js'
import { wireCodec } from '../value/codec.js'
import { type InAny, isInAny, readV6, writeV6 } from '../value/inany.js'
import { bytesOf, type Octets } from '../value/octets.js'
import { orNull } from '../value/or-null.js'
import { isMac, type Mac, readMac, writeMac } from '../wire/ethernet.js'
import { RulesText } from './conf.js'
import { FLOW_LEN } from './migration.js'

// What a process and its successor say to each other (behaviour.md#restart): one question and one answer a packet, in JSON, since both may
// be of different releases: a reader leaves alone what it does not know. Descriptors go with answers, in the order of what they belong to.
// A connection's numbers stand in the flow record of a migration (migration.ts).

export const HAND_OVER_VERSION = 1
/** Descriptors, and so flows or listeners, of one answer; octets of the link's rest in one answer. */
export const HANDED_MAX = 192
export const REST_MAX = 32_768

/** What JSON says as it is. */
const asItIs = <A>(name: string, is: (u: unknown) => u is A): t.Type<A, A, unknown> =>
  new t.Type(name, is, (u, c) => (is(u) ? t.success(u) : t.failure(u, c)), t.identity)
const Addr = asItIs<InAny>('InAny', isInAny)
const MacAddr = asItIs<Mac>('Mac', isMac)
const below = (max: number): t.Type<number, number, unknown> =>
  asItIs(`below ${max}`, (u): u is number => Number.isInteger(u) && Number(u) >= 0 && Number(u) < max)
const Word = below(2 ** 32)
const Count = below(2 ** 24)
const Port = below(65536)
/** What older ones do not say: null then. */
const orNothing = <A, O>(of: t.Type<A, O, unknown>) =>
  new t.Type<A | null, O | null, unknown>(
    `${of.name} or nothing`,
    (u): u is A | null => u === null || of.is(u),
    (u, c) => (u === null || u === undefined ? t.success(null) : of.validate(u, c)),
    (a) => (a === null ? null : of.encode(a))
  )

// --- questions

const questions = [
  /** First. `begin`: for whom it is. `api`: it knows what to do with an API's socket. */
  t.strict({ ask: t.literal('begin'), version: Count, mode: t.string, api: orNothing(t.boolean) }),
  /** Those behind the first `from`. */
  t.strict({ ask: t.literal('listeners'), from: Count }),
  /** From here on we serve nobody, until `done`, or until the connection ends. */
  t.strict({ ask: t.literal('take') }),
  t.strict({ ask: t.literal('flows'), from: Count }),
  /** Of the guest's link: octets that came and were not looked at, and behind them those that were not taken yet. */
  t.strict({ ask: t.literal('rest'), from: Count }),
  /** Of a client that speaks vhost-user. */
  t.strict({ ask: t.literal('session') }),
  /** All is taken: it is ours to end. */
  t.strict({ ask: t.literal('done'), taken: Count, lost: Count })
] as const
const Questions = t.union([
  questions[0],
  questions[1],
  questions[2],
  questions[3],
  questions[4],
  questions[5],
  questions[6]
])
export type HandOverQuestion = t.TypeOf<typeof Questions>

// --- answers

const HandedListener = t.strict({
  /** As the flows that it brought name it. */
  id: Count,
  proto: t.union([t.literal('tcp'), t.literal('udp')]),
  direction: t.union([t.literal('in'), t.literal('out')]),
  bind: orNull(Addr),
  v6only: t.boolean,
  ifname: orNull(t.string),
  port: Port,
  /** Its number or name, of a socket that the process was started with. */
  given: orNothing(t.string),
  /** Where it listens in place of an address. */
  path: orNothing(t.string)
})
export type HandedListener = t.TypeOf<typeof HandedListener>

/** As runtime/flow has them. */
export interface HandedEnds {
  readonly v6: boolean
  readonly guestMac: Mac
  readonly ourMac: Mac
  readonly guestAddr: InAny
  readonly guestPort: number
  readonly ourAddr: InAny
  readonly ourPort: number
  readonly hostAddr: InAny
  readonly hostPort: number
  /** A host peer began it: where it came to. */
  readonly arrival: {
    readonly listener: number
    readonly addr: InAny
    readonly port: number
    readonly scope: number
  } | null
}
export interface HandedTcp {
  readonly kind: 'tcp'
  readonly ends: HandedEnds
  /** FLOW_LEN octets (FlowRecord). */
  readonly record: Uint8Array
  /** Octets that its socket took since octet 0 of tcpi_bytes_acked; how many of them its peer has not acknowledged. */
  readonly taken: number
  readonly unacked: number
}
export type HandedFlow = HandedTcp | { readonly kind: 'udp'; readonly ends: HandedEnds }

// Everybody waits while flows are handed over, so they are no JSON: records of one length, which stands in front of them. Numbers are
// little-endian, addresses and the flow record as a migration has them. Offsets in octets:
const KIND = 0
const OF_ENDS = 1
const PORTS = [2, 4, 6, 8] as const
const MACS = [10, 16] as const
const ADDRS = [24, 40, 56, 72] as const
const LISTENER = 88
const SCOPE = 92
const TAKEN = 96
const UNACKED = 100
const RECORD = 104
const HANDED_LEN = RECORD + FLOW_LEN
const KIND_TCP = 1
const KIND_UDP = 2
const ENDS_V6 = 1
const ENDS_ARRIVAL = 2
const SIZE_LEN = 4

const writeFlow = (v: DataView, at: number, f: HandedFlow): void => {
  const { ends: e } = f
  const a = e.arrival
  v.setUint8(at + KIND, f.kind === 'tcp' ? KIND_TCP : KIND_UDP)
  v.setUint8(at + OF_ENDS, (e.v6 ? ENDS_V6 : 0) | (a === null ? 0 : ENDS_ARRIVAL))
  v.setUint16(at + PORTS[0], e.guestPort, true)
  v.setUint16(at + PORTS[1], e.ourPort, true)
  v.setUint16(at + PORTS[2], e.hostPort, true)
  writeMac(v, at + MACS[0], e.guestMac)
  writeMac(v, at + MACS[1], e.ourMac)
  writeV6(v, at + ADDRS[0], e.guestAddr)
  writeV6(v, at + ADDRS[1], e.ourAddr)
  writeV6(v, at + ADDRS[2], e.hostAddr)
  if (a !== null) {
    v.setUint16(at + PORTS[3], a.port, true)
    writeV6(v, at + ADDRS[3], a.addr)
    v.setUint32(at + LISTENER, a.listener, true)
    v.setUint32(at + SCOPE, a.scope, true)
  }
  if (f.kind === 'udp') return
  v.setUint32(at + TAKEN, f.taken, true)
  v.setUint32(at + UNACKED, f.unacked, true)
  new Uint8Array(v.buffer, v.byteOffset + at + RECORD, FLOW_LEN).set(f.record)
}
/** null: of no kind that there is. */
const readFlow = (v: DataView, at: number): HandedFlow | null => {
  const kind = v.getUint8(at + KIND)
  const flags = v.getUint8(at + OF_ENDS)
  if (kind !== KIND_TCP && kind !== KIND_UDP) return null
  const ends: HandedEnds = {
    v6: (flags & ENDS_V6) !== 0,
    guestMac: readMac(v, at + MACS[0]),
    ourMac: readMac(v, at + MACS[1]),
    guestAddr: readV6(v, at + ADDRS[0]),
    guestPort: v.getUint16(at + PORTS[0], true),
    ourAddr: readV6(v, at + ADDRS[1]),
    ourPort: v.getUint16(at + PORTS[1], true),
    hostAddr: readV6(v, at + ADDRS[2]),
    hostPort: v.getUint16(at + PORTS[2], true),
    arrival:
      (flags & ENDS_ARRIVAL) === 0
        ? null
        : {
            listener: v.getUint32(at + LISTENER, true),
            addr: readV6(v, at + ADDRS[3]),
            port: v.getUint16(at + PORTS[3], true),
            scope: v.getUint32(at + SCOPE, true)
          }
  }
  if (kind === KIND_UDP) return { kind: 'udp', ends }
  return {
    kind: 'tcp',
    ends,
    record: new Uint8Array(v.buffer, v.byteOffset + at + RECORD, FLOW_LEN).slice(),
    taken: v.getUint32(at + TAKEN, true),
    unacked: v.getUint32(at + UNACKED, true)
  }
}
/** Shape: base64 of u32 length of a record, records. Left: another length, a record of no kind. A longer record has more than we know. */
const HandedFlows = inBase64<ReadonlyArray<HandedFlow>>(
  'flows',
  (b) => {
    const v = new DataView(b.buffer, b.byteOffset, b.byteLength)
    const size = b.length < SIZE_LEN ? 0 : v.getUint32(0, true)
    if (size < HANDED_LEN || (b.length - SIZE_LEN) % size !== 0) return null
    const list: HandedFlow[] = []
    for (let at = SIZE_LEN; at < b.length; at += size) {
      const f = readFlow(v, at)
      if (f === null) return null
      list.push(f)
    }
    return list
  },
  (list) => {
    const b = new Uint8Array(SIZE_LEN + list.length * HANDED_LEN)
    const v = new DataView(b.buffer)
    v.setUint32(0, HANDED_LEN, true)
    for (const [i, f] of list.entries()) writeFlow(v, SIZE_LEN + i * HANDED_LEN, f)
    return b
  }
)

const Guest = t.strict({
  v4: orNull(Addr),
  v6: orNull(Addr),
  linkLocal6: orNull(Addr),
  mac: MacAddr,
  announced: t.readonlyArray(Addr)
})

const TapThere = t.strict({
  kind: t.literal('tap'),
  name: t.string,
  index: Word,
  vnet: t.boolean,
  mac: MacAddr
})
/** `file`: which one is at the path, by device and inode; null: nobody knows. */
const socketFile = { path: t.string, file: orNothing(t.string) }
const ApiThere = t.strict(socketFile)
export type SocketFile = t.TypeOf<typeof ApiThere>
const ConfThere = t.strict({ ...socketFile, rules: orNothing(RulesText) })
const LinkThere = t.strict({ kind: t.literal('link') })
/** `helpers`: with where passt-repair connects, as a descriptor. */
const VhostThere = t.strict({ kind: t.literal('vhost-user'), helpers: t.boolean })

const answers = [
  /**
   * With descriptors: where this connection came from; the tap, or where clients of the link connect. `guest` null: there is neither
   * (--splice-only).
   */
  t.strict({
    answer: t.literal('begin'),
    version: Count,
    guest: t.union([TapThere, LinkThere, VhostThere, t.null]),
    listeners: Count,
    /** Last in the descriptors, in this order: where the API's clients connect, the control socket. */
    api: orNothing(ApiThere),
    conf: orNothing(ConfThere),
    /** null: nobody has changed them, or whoever asks does not know of the API and has them with the control socket. */
    rules: orNothing(RulesText)
  }),
  t.strict({ answer: t.literal('listeners'), list: t.readonlyArray(HandedListener) }),
  /** `client`: with the link's, as a descriptor; `came`, `unsent`: octets of its rest. `ended`: flows that do not go along. */
  t.strict({
    answer: t.literal('take'),
    guest: Guest,
    flows: Count,
    ended: Count,
    client: t.boolean,
    came: Count,
    unsent: Count
  }),
  t.strict({ answer: t.literal('flows'), list: HandedFlows }),
  t.strict({ answer: t.literal('rest'), octets: Base64 }),
  /**
   * Requests of a vhost-user front-end (vhost-user.ts) that lead to what its session is, each with so many descriptors; behind those
   * of all requests there are `came` more, of the part of a message that `rest` begins with.
   */
  t.strict({
    answer: t.literal('session'),
    list: t.readonlyArray(t.strict({ octets: Base64, fds: Count })),
    came: Count
  }),
  t.strict({ answer: t.literal('done') }),
  /** In words; the connection ends. */
  t.strict({ answer: t.literal('refused'), why: t.string })
] as const
const Answers = t.union([
  answers[0],
  answers[1],
  answers[2],
  answers[3],
  answers[4],
  answers[5],
  answers[6],
  answers[7]
])
export type HandOverAnswer = t.TypeOf<typeof Answers>
export type AnswerTo<K extends HandOverAnswer['answer']> = Extract<HandOverAnswer, { readonly answer: K }>

// --- both as octets

/** Larger than any message, in octets: nothing longer is looked at. */
const MESSAGE_MAX = 131_072

const parse = (o: Octets): unknown => {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytesOf(o)))
  } catch {
    return undefined
  }
}
const message = <A, O>(name: string, of: t.Type<A, O, unknown>) =>
  wireCodec<A>(
    name,
    (o) => {
      if (o.len > MESSAGE_MAX) return `${o.len} octets are too many`
      const said = of.decode(parse(o))
      return E.isRight(said) ? said.right : `not ${name}`
    },
    (a) => new TextEncoder().encode(JSON.stringify(of.encode(a)))
  )
/** Left: no question of ours. Law: decode(encode(q)) = right(q). Unknown keys are left out. */
export const HandOverQuestion: t.Type<HandOverQuestion, Uint8Array, Octets> = message('a question', Questions)
/** Left: no answer of ours. Law: decode(encode(a)) = right(a). Unknown keys are left out. */
export const HandOverAnswer: t.Type<HandOverAnswer, Uint8Array, Octets> = message('an answer', Answers)
