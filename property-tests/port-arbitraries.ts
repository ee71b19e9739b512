import fc from 'fast-check'
import type {
  FdSpec,
  PortItem,
  PortRange,
  PortSpec,
  ToUnixSpec,
  UnixSpec
} from '../src/codecs/text/port-spec.js'
import { type InAny, isUnicast, isV4 } from '../src/codecs/value/inany.js'
import { arbInAny, plain } from './arbitraries.js'

/** Shared by the tests of port specifications and of the rules made from them. */

const MAX_PORT = 65535
/** Small numbers often, so that ranges meet. */
const arbFirst = fc.oneof(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 1, max: MAX_PORT }))
export const arbRange: fc.Arbitrary<PortRange> = fc
  .tuple(arbFirst, fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 200 })))
  .map(([first, n]) => ({ first, last: Math.min(MAX_PORT, first + n) }))

const arbTarget = (v4: boolean | null): fc.Arbitrary<InAny> =>
  arbInAny.filter((a) => isUnicast(a) && (v4 === null || isV4(a) === v4))

/** `v4`: family of target addresses, null for either. */
export const arbItem = (v4: boolean | null): fc.Arbitrary<PortItem> =>
  arbRange.chain((from) =>
    plain<PortItem>({
      from: fc.constant(from),
      to: fc.oneof(fc.constant(from.first), fc.integer({ min: 1, max: MAX_PORT - (from.last - from.first) })),
      address: fc.option(arbTarget(v4), { freq: 2 })
    })
  )

export type Ports = Extract<PortSpec, { kind: 'ports' }>

/** What the codec's law asks for: no port in two items, and `all` where there is no item. */
const valid = (s: Ports): Ports => {
  const out = (p: number): boolean => s.excluded.some((r) => r.first <= p && p <= r.last)
  const taken = new Set<number>()
  const items = s.items.filter(({ from }) => {
    const own = Array.from({ length: from.last - from.first + 1 }, (_, i) => from.first + i)
    const wanted = own.filter((p) => !out(p))
    if (wanted.some((p) => taken.has(p))) return false
    for (const p of wanted) taken.add(p)
    return true
  })
  const all = s.all || items.length === 0
  return { ...s, items, all, allAddress: all ? s.allAddress : null }
}

export const arbIfname = fc
  .stringMatching(/^[a-z0-9.,~%@_-]{1,15}$/)
  .filter((name) => name !== '.' && name !== '..')

/** `bind` null: any address. */
export const arbPorts = (arbBind: fc.Arbitrary<InAny | null>): fc.Arbitrary<Ports> =>
  arbBind
    .chain((bind) => {
      const v4 = bind === null ? null : isV4(bind)
      return plain<Ports>({
        kind: fc.constant('ports' as const),
        bind: fc.constant(bind),
        ifname: fc.option(arbIfname),
        auto: fc.boolean(),
        all: fc.boolean(),
        allAddress: fc.option(arbTarget(v4)),
        items: fc.array(arbItem(v4), { maxLength: 4 }),
        excluded: fc.array(arbRange, { maxLength: 3 })
      })
    })
    .map(valid)

/** Of LISTEN_FDNAMES. */
export const arbFdName = fc.stringMatching(/^[ -9;-~]{1,12}$/)
const arbFd: fc.Arbitrary<PortSpec> = plain<FdSpec>({
  kind: fc.constant('fd' as const),
  fd: fc.oneof(
    fc.integer({ min: 3, max: 0x7fffffff }),
    arbFdName.filter((name) => !/^[0-9]+$/.test(name))
  ),
  to: fc.integer({ min: 1, max: MAX_PORT }),
  address: fc.option(arbTarget(null))
})

const arbPath = fc
  .oneof(fc.stringMatching(/^[a-z:[\]/.0-9]{0,20}$/), fc.string({ maxLength: 20 }))
  .map((name) => `/${name.replaceAll('\0', '')}`)
  .filter((path) => Buffer.byteLength(path) <= 107)
const arbPort = fc.integer({ min: 1, max: MAX_PORT })
const arbUnix: fc.Arbitrary<PortSpec> = fc.oneof(
  plain<UnixSpec>({
    kind: fc.constant('unix' as const),
    path: arbPath,
    to: arbPort,
    address: fc.option(arbTarget(null))
  }),
  plain<ToUnixSpec>({ kind: fc.constant('to-unix' as const), port: arbPort, path: arbPath })
)

export const arbSpec: fc.Arbitrary<PortSpec> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<PortSpec>({ kind: 'none' }) },
  { weight: 2, arbitrary: arbFd },
  { weight: 2, arbitrary: arbUnix },
  { weight: 9, arbitrary: arbPorts(fc.option(arbInAny)) }
)
