import * as E from 'fp-ts/lib/Either.js'
import * as O from 'fp-ts/lib/Option.js'
import { type FlowInfo, FlowKind } from '../../codecs/control/api.js'
import { parseAddr, showAddr } from '../../codecs/value/inany.js'

/** Which flows: null is any. */
export interface Filter {
  readonly kind: string | null
  readonly state: string | null
  readonly port: number | null
  /** As flows have it. */
  readonly address: string | null
}
const NAMES: ReadonlyArray<string> = ['kind', 'state', 'port', 'address']

/** Of a query's names and values. Left: what is wrong with it. */
export const filterOf = (query: Iterable<readonly [string, string]>): E.Either<string, Filter> => {
  const given = new Map<string, string>()
  for (const [name, value] of query) {
    if (!NAMES.includes(name)) return E.left(`no such filter: ${name}; there are ${NAMES.join(', ')}`)
    if (given.has(name)) return E.left(`${name} is given twice`)
    given.set(name, value)
  }
  const kind = given.get('kind') ?? null
  if (kind !== null && !FlowKind.is(kind)) return E.left(`no such kind: ${kind}`)
  const port = given.get('port') ?? null
  if (port !== null && (!/^\d{1,5}$/.test(port) || Number(port) > 65535)) return E.left(`no port: ${port}`)
  const address = given.get('address') ?? null
  const parsed = address === null ? O.none : parseAddr(address)
  if (address !== null && O.isNone(parsed)) return E.left(`no address: ${address}`)
  return E.right({
    kind,
    state: given.get('state')?.toUpperCase() ?? null,
    port: port === null ? null : Number(port),
    address: O.isNone(parsed) ? null : showAddr(parsed.value)
  })
}

/** A port or an address is that of any end, a port also the listener's. */
export const passes = (f: Filter, flow: FlowInfo): boolean => {
  const ends = [flow.guest, flow.guestPeer, flow.peer]
  return (
    (f.kind === null || flow.kind === f.kind) &&
    (f.state === null || flow.state === f.state) &&
    (f.port === null || f.port === flow.listenerPort || ends.some((e) => e.port === f.port)) &&
    (f.address === null || ends.some((e) => e.address === f.address))
  )
}
