import fc from 'fast-check'
import {
  StateAddresses as AddressesCodec,
  ExtendedRecord as ExtendedCodec,
  type ExtendedRecord,
  FlowRecord as FlowCodec,
  type FlowRecord,
  type SideRecord,
  SKIPPED,
  STATE_VERSION,
  type StateAddresses,
  StateCount,
  StateHeader
} from '../src/codecs/control/migration.js'
import { joined } from '../src/codecs/value/octets.js'
import { arbBytes, arbInAny, arbInAny4, arbMac, arbSeq, arbU8, arbU16, arbU32, plain } from './arbitraries.js'

// The device state of a passt: its records, and whole streams of them.

export const arbStateHeader: fc.Arbitrary<StateHeader> = plain({
  version: fc.oneof(fc.constant(STATE_VERSION), fc.integer({ min: STATE_VERSION, max: 0xffffffff })),
  compatible: fc.integer({ min: 1, max: STATE_VERSION })
})
export const arbStateAddresses: fc.Arbitrary<StateAddresses> = plain({
  v6: arbInAny,
  linkLocal: arbInAny,
  v4: arbInAny4,
  mac: arbMac
})
const arbSide: fc.Arbitrary<SideRecord> = plain({
  where: arbU8,
  own: arbInAny,
  peer: arbInAny,
  ownPort: arbU16,
  peerPort: arbU16
})
export const arbFlowRecord: fc.Arbitrary<FlowRecord> = plain({
  sides: fc.tuple(arbSide, arbSide),
  retries: arbU8,
  guestScale: arbU8,
  ourScale: arbU8,
  events: arbU8,
  mss: arbU32,
  sndBuf: arbU32,
  flags: arbU8,
  dupAck: arbU8,
  guestWindow: arbU16,
  ourWindow: arbU16,
  sndNxt: arbSeq,
  sndUna: arbSeq,
  rcvNxt: arbSeq,
  rcvAcked: arbSeq,
  irs: arbSeq
})
/** `queues`: most octets of one. */
export const arbExtended = (queues: number): fc.Arbitrary<ExtendedRecord> =>
  plain({
    sndSeq: arbSeq,
    rcvSeq: arbSeq,
    sendQueue: fc.nat(queues),
    unsent: fc.nat(queues),
    receiveQueue: fc.nat(queues),
    mss: arbU32,
    timestamp: arbU32,
    window: fc.tuple(arbU32, arbU32, arbU32, arbU32, arbU32),
    sendScale: arbU8,
    receiveScale: arbU8,
    state: fc.integer({ min: 1, max: 11 }),
    options: arbU8
  }).map((x) => ({ ...x, unsent: Math.min(x.unsent, x.sendQueue) }))

/** What a stream has of one connection. */
export interface StateFlow {
  readonly flow: FlowRecord
  readonly extended: ExtendedRecord
  readonly sendQueue: Uint8Array
  readonly receiveQueue: Uint8Array
}
const NO_OCTETS = new Uint8Array(0)
const arbStateFlow: fc.Arbitrary<StateFlow> = fc.oneof(
  {
    weight: 1,
    arbitrary: arbFlowRecord.map((flow) => ({
      flow,
      extended: SKIPPED,
      sendQueue: NO_OCTETS,
      receiveQueue: NO_OCTETS
    }))
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(arbFlowRecord, arbExtended(0), arbBytes(200), arbBytes(200), fc.nat(200))
      .map(([flow, x, sendQueue, receiveQueue, unsent]) => ({
        flow,
        extended: {
          ...x,
          sendQueue: sendQueue.length,
          unsent: Math.min(unsent, sendQueue.length),
          receiveQueue: receiveQueue.length
        },
        sendQueue,
        receiveQueue
      }))
  }
)
export interface DeviceState {
  readonly header: StateHeader
  readonly addresses: StateAddresses
  readonly flows: readonly StateFlow[]
}
export const arbDeviceState: fc.Arbitrary<DeviceState> = fc.record({
  header: arbStateHeader,
  addresses: arbStateAddresses,
  flows: fc.array(arbStateFlow, { maxLength: 5 })
})

export const encodeState = ({ header, addresses, flows }: DeviceState): Uint8Array =>
  joined([
    StateHeader.encode(header),
    AddressesCodec.encode(addresses),
    StateCount.encode(flows.length),
    ...flows.map((f) => FlowCodec.encode(f.flow)),
    ...flows.flatMap((f) => [ExtendedCodec.encode(f.extended), f.sendQueue, f.receiveQueue])
  ])

/** `bytes` in pieces: the shares say where they are cut. */
export const cut = (bytes: Uint8Array, shares: readonly number[]): readonly Uint8Array[] => {
  const at = shares.map((s) => Math.floor(s * bytes.length)).sort((a, b) => a - b)
  return [0, ...at].map((from, i) => bytes.subarray(from, at[i] ?? bytes.length))
}
