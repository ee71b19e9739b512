import fc from 'fast-check'
import {
  type MemoryRegion,
  type RingAddresses,
  VHOST_ID,
  VHOST_REGIONS_MAX,
  VHOST_RINGS,
  type VhostMessage,
  type VhostReply,
  type VhostRequest
} from '../src/codecs/control/vhost-user.js'
import { arbU16, arbU32, plain } from './arbitraries.js'

/** vhost-user messages that are well-formed. */

const arbU64 = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(0n, 1n, 1n << 32n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n)
)
const end = 1n << 64n
const arbRing = fc.nat(VHOST_RINGS - 1)
export const arbRegion: fc.Arbitrary<MemoryRegion> = plain<MemoryRegion>({
  gpa: arbU64,
  size: arbU64,
  user: arbU64,
  offset: arbU64
}).map((r) => {
  // as large as the starts allow; one octet at least
  const fits = (start: bigint): bigint => (start === end - 1n ? end - 2n : start)
  const [gpa, user, offset] = [fits(r.gpa), fits(r.user), fits(r.offset)] as const
  const room = [gpa, user, offset].reduce((m, start) => (end - start < m ? end - start : m), end - 1n)
  return { gpa, size: 1n + (r.size % room), user, offset }
})
const arbAddresses = plain<RingAddresses>({
  logged: fc.boolean(),
  desc: arbU64,
  used: arbU64,
  avail: arbU64,
  log: arbU64
})
const KNOWN: ReadonlySet<number> = new Set(Object.values(VHOST_ID))
const type = <T extends string>(...t: T[]) => fc.constantFrom(...t)

/** Feature words of guests: with and without what decides something, and anything. */
export const arbFeatures = fc.oneof(
  arbU64,
  fc
    .tuple(fc.boolean(), fc.boolean(), arbU64)
    .map(([modern, protocol, rest]) => rest | (modern ? 1n << 32n : 0n) | (protocol ? 1n << 30n : 0n)),
  fc.constantFrom(1n << 32n, (1n << 32n) | (1n << 30n))
)

/** All of them, each about as often as another. `regions`: at most. */
export const arbVhostRequest = (regions = VHOST_REGIONS_MAX): fc.Arbitrary<VhostRequest> =>
  fc.oneof(
    plain<VhostRequest>({ type: type('GET_FEATURES', 'SET_OWNER', 'RESET_OWNER', 'SET_LOG_FD') } as never),
    plain<VhostRequest>({
      type: type('GET_PROTOCOL_FEATURES', 'GET_QUEUE_NUM', 'GET_MAX_MEM_SLOTS', 'CHECK_DEVICE_STATE')
    } as never),
    plain<VhostRequest>({ type: type('SET_FEATURES'), features: arbFeatures } as never),
    plain<VhostRequest>({ type: type('SET_PROTOCOL_FEATURES'), features: arbU64 } as never),
    plain<VhostRequest>({
      type: type('SET_MEM_TABLE'),
      regions: fc.array(arbRegion, { minLength: 1, maxLength: regions })
    } as never),
    plain<VhostRequest>({ type: type('ADD_MEM_REG', 'REM_MEM_REG'), region: arbRegion } as never),
    arbRegion.map((r): VhostRequest => ({ type: 'SET_LOG_BASE', size: r.size, offset: r.offset })),
    plain<VhostRequest>({
      type: type('SET_VRING_NUM'),
      ring: arbRing,
      entries: fc.nat(15).map((n) => 1 << n)
    } as never),
    plain<VhostRequest>({ type: type('SET_VRING_ADDR'), ring: arbRing, addresses: arbAddresses } as never),
    plain<VhostRequest>({ type: type('SET_VRING_BASE'), ring: arbRing, next: arbU16 } as never),
    plain<VhostRequest>({ type: type('GET_VRING_BASE'), ring: arbRing } as never),
    plain<VhostRequest>({
      type: type('SET_VRING_KICK', 'SET_VRING_CALL', 'SET_VRING_ERR'),
      ring: arbRing,
      none: fc.boolean()
    } as never),
    plain<VhostRequest>({ type: type('SET_VRING_KICK'), ring: arbRing, none: fc.boolean() } as never),
    plain<VhostRequest>({ type: type('SET_VRING_ENABLE'), ring: arbRing, enable: fc.boolean() } as never),
    plain<VhostRequest>({
      type: type('SEND_RARP'),
      mac: fc.nat({ max: 0xffff_ffff_ffff })
    } as never),
    plain<VhostRequest>({ type: type('SET_DEVICE_STATE_FD'), direction: arbU32, phase: arbU32 } as never),
    arbU32.map((id): VhostRequest => ({ type: 'OTHER', id: KNOWN.has(id) ? id + 1000 : id }))
  )
export const arbVhostMessage = (regions?: number): fc.Arbitrary<VhostMessage> =>
  fc.tuple(arbVhostRequest(regions), fc.boolean()).map(([r, needReply]) => ({ ...r, needReply }))

export const arbVhostReply: fc.Arbitrary<VhostReply> = fc.oneof(
  plain<VhostReply>({
    type: type('VALUE'),
    id: arbU32.map((id) => (id === VHOST_ID.GET_VRING_BASE ? 0 : id)),
    value: arbU64
  } as never),
  plain<VhostReply>({ type: type('VRING_BASE'), ring: arbRing, next: arbU16 } as never)
)
