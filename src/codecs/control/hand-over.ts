import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { type InAny, isInAny } from '../value/inany.js'
import { bytesOf, type Octets, wireCodec } from '../value/octets.js'
import { isMac, type Mac } from '../wire/ethernet.js'
import { FLOW_LEN } from './migration.js'

// What a process and its successor say to each other (behaviour.md#restart): one question and one answer a packet, in JSON, since both may
// be of different releases: a reader leaves alone what it does not know. Descriptors go with answers, in the order of what they belong to.
// A connection's numbers stand in the flow record of a migration (migration.ts).

export const HAND_OVER_VERSION = 1
/** Descriptors, and so flows or listeners, of one answer; octets of the link's rest in one answer. */
export const HANDED_MAX = 192
export const REST_MAX = 32_768

const Addr = new t.Type<InAny, InAny, unknown>(
  'InAny',
  isInAny,
  (u, c) => (isInAny(u) ? t.success(u) : t.failure(u, c)),
  (a) => a
)
const MacAddr = new t.Type<Mac, Mac, unknown>(
  'Mac',
  isMac,
  (u, c) => (isMac(u) ? t.success(u) : t.failure(u, c)),
  (a) => a
)
const below = (max: number): t.Type<number, number, unknown> => {
  const is = (u: unknown): u is number => typeof u === 'number' && Number.isInteger(u) && u >= 0 && u < max
  return new t.Type(
    `below ${max}`,
    is,
    (u, c) => (is(u) ? t.success(u) : t.failure(u, c)),
    (a) => a
  )
}
const Word = below(2 ** 32)
const Count = below(2 ** 24)
const Port = below(65536)
const orNull = <A>(of: t.Type<A, A, unknown>) => t.union([of, t.null])
/** Octets in base64. */
const Base64 = new t.Type<Uint8Array, string, unknown>(
  'octets',
  (u): u is Uint8Array => u instanceof Uint8Array,
  (u, c) =>
    typeof u === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(u)
      ? t.success(new Uint8Array(Buffer.from(u, 'base64')))
      : t.failure(u, c),
  (b) => Buffer.from(b.buffer, b.byteOffset, b.byteLength).toString('base64')
)

// --- questions

const questions = [
  /** First. `begin`: for whom it is. */
  t.strict({ ask: t.literal('begin'), version: Count, mode: t.string }),
  /** Those behind the first `from`. */
  t.strict({ ask: t.literal('listeners'), from: Count }),
  /** From here on we serve nobody, until `done`, or until the connection ends. */
  t.strict({ ask: t.literal('take') }),
  t.strict({ ask: t.literal('flows'), from: Count }),
  /** Of the guest's link: octets that came and were not looked at, and behind them those that were not taken yet. */
  t.strict({ ask: t.literal('rest'), from: Count }),
  /** All is taken: it is ours to end. */
  t.strict({ ask: t.literal('done'), taken: Count, lost: Count })
] as const
const Questions = t.union([
  questions[0],
  questions[1],
  questions[2],
  questions[3],
  questions[4],
  questions[5]
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
  port: Port
})
export type HandedListener = t.TypeOf<typeof HandedListener>

const Ends = t.strict({
  v6: t.boolean,
  guestMac: MacAddr,
  ourMac: MacAddr,
  guestAddr: Addr,
  guestPort: Port,
  ourAddr: Addr,
  ourPort: Port,
  hostAddr: Addr,
  hostPort: Port,
  /** A host peer began it: where it came to. */
  arrival: orNull(t.strict({ listener: Word, addr: Addr, port: Port, scope: Word }))
})
export type HandedEnds = t.TypeOf<typeof Ends>
const HandedTcp = t.strict({
  kind: t.literal('tcp'),
  ends: Ends,
  /** FLOW_LEN octets (FlowRecord). */
  record: Base64,
  /** Octets that its socket took since octet 0 of tcpi_bytes_acked; how many of them its peer has not acknowledged. */
  taken: Word,
  unacked: Word
})
const HandedUdp = t.strict({ kind: t.literal('udp'), ends: Ends })
export type HandedTcp = t.TypeOf<typeof HandedTcp>
export type HandedFlow = HandedTcp | t.TypeOf<typeof HandedUdp>

const Guest = t.strict({
  v4: orNull(Addr),
  v6: orNull(Addr),
  linkLocal6: orNull(Addr),
  mac: MacAddr,
  announced: t.readonlyArray(Addr)
})
export type HandedGuest = t.TypeOf<typeof Guest>

const TapThere = t.strict({
  kind: t.literal('tap'),
  name: t.string,
  index: Word,
  vnet: t.boolean,
  mac: MacAddr
})
const LinkThere = t.strict({ kind: t.literal('link') })

const answers = [
  /**
   * With descriptors: where this connection came from; the tap, or where clients of the link connect. `guest` null: there is neither
   * (--splice-only).
   */
  t.strict({
    answer: t.literal('begin'),
    version: Count,
    guest: t.union([TapThere, LinkThere, t.null]),
    listeners: Count
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
  t.strict({ answer: t.literal('flows'), list: t.readonlyArray(t.union([HandedTcp, HandedUdp])) }),
  t.strict({ answer: t.literal('rest'), octets: Base64 }),
  t.strict({ answer: t.literal('done') }),
  /** In words; the connection ends. */
  t.strict({ answer: t.literal('refused'), why: t.string })
] as const
const Answers = t.union([answers[0], answers[1], answers[2], answers[3], answers[4], answers[5], answers[6]])
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
const message = <A, O>(name: string, of: t.Type<A, O, unknown>, holds: (a: A) => boolean) =>
  wireCodec<A>(
    name,
    of.is,
    (o) => {
      if (o.len > MESSAGE_MAX) return `${o.len} octets are too many`
      const said = of.decode(parse(o))
      return E.isRight(said) && holds(said.right) ? said.right : `not ${name}`
    },
    (a) => new TextEncoder().encode(JSON.stringify(of.encode(a)))
  )
/** Left: no question of ours. Law: decode(encode(q)) = right(q). Unknown keys are left out. */
export const HandOverQuestion: t.Type<HandOverQuestion, Uint8Array, Octets> = message(
  'a question',
  Questions,
  () => true
)
const recordsHold = (a: HandOverAnswer): boolean =>
  a.answer !== 'flows' || a.list.every((f) => f.kind !== 'tcp' || f.record.length === FLOW_LEN)
/** Left: no answer of ours. Law: decode(encode(a)) = right(a). Unknown keys are left out. */
export const HandOverAnswer: t.Type<HandOverAnswer, Uint8Array, Octets> = message(
  'an answer',
  Answers,
  recordsHold
)
