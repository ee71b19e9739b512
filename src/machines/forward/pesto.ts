import * as E from 'fp-ts/lib/Either.js'
import {
  CAP_DEVICE,
  CAP_SCAN,
  CAP_TCP,
  CAP_UDP,
  CAP_V4,
  CAP_V6,
  type ClientPart,
  type ConfRule,
  type ConfTable,
  PIF
} from '../../codecs/control/conf.js'
import { isNoLonger, MAX_IFNAME } from '../../codecs/text/ifname.js'
import type { PortRange, PortSpec } from '../../codecs/text/port-spec.js'
import { addRule, deleteRule, hasRule, showConfRule, toConfRule } from './conf-rules.js'
import { type ForwardEnv, type PortOptions, type SpecFault, specRules } from './forward-rules.js'
import { NOTHING_GIVEN } from './given-sockets.js'

// What pesto(1) makes of a server's tables: option by option, in order.

/** -t, -u, -T, -U */
export type Ports = 't' | 'u' | 'T' | 'U'
export type Operation =
  /** From here on specifications add, or delete. */
  | { readonly type: 'add' | 'delete' }
  | { readonly type: 'clear'; readonly table: string }
  /** `text`: as given. */
  | { readonly type: 'ports'; readonly option: Ports; readonly spec: PortSpec; readonly text: string }

export interface Edited {
  readonly tables: ReadonlyArray<ConfTable>
  /** Lines for people. */
  readonly warnings: ReadonlyArray<string>
}

const PLACES: Readonly<Record<Ports, { readonly pif: number; readonly key: keyof PortOptions }>> = {
  t: { pif: PIF.HOST, key: 'tcpIn' },
  u: { pif: PIF.HOST, key: 'udpIn' },
  T: { pif: PIF.SPLICE, key: 'tcpOut' },
  U: { pif: PIF.SPLICE, key: 'udpOut' }
}

interface State extends Edited {
  /** null: the first specification of a table takes the place of what is there. */
  readonly mode: 'add' | 'delete' | null
  /** Tables that begin anew. */
  readonly emptied: ReadonlySet<number>
}
type Next = E.Either<string, State>

const withRules = (s: State, pif: number, rules: ReadonlyArray<ConfRule>): State => ({
  ...s,
  tables: s.tables.map((one) => (one.pif === pif ? { ...one, rules } : one))
})
const empty = (s: State, pif: number): State => ({
  ...withRules(s, pif, []),
  emptied: new Set([...s.emptied, pif])
})

const envOf = (caps: number, ephemeral: PortRange): ForwardEnv => ({
  mode: (caps & CAP_SCAN) === 0 ? 'passt' : 'pasta',
  tcp: (caps & CAP_TCP) !== 0,
  udp: (caps & CAP_UDP) !== 0,
  ephemeral,
  v4: (caps & CAP_V4) !== 0,
  v6: (caps & CAP_V6) !== 0,
  bindToDevice: (caps & CAP_DEVICE) !== 0,
  given: NOTHING_GIVEN
})

const specFault = (fault: SpecFault, option: Ports, text: string): string => {
  switch (fault) {
    case 'auto':
      return "'auto' port forwarding is only allowed for pasta"
    case 'address':
      return `Listening address not allowed for -${option} ${text}`
    case 'device':
      return `Device binding for '-${option} ${text}' unsupported (requires kernel 5.7+)`
    case 'socket':
      return `Descriptors and paths are for the start of a server: -${option} ${text} cannot be added`
  }
}

const ports = (
  before: State,
  { option, spec, text }: Extract<Operation, { type: 'ports' }>,
  ephemeral: PortRange
): Next => {
  const { pif, key } = PLACES[option]
  const s = before.mode === null && !before.emptied.has(pif) ? empty(before, pif) : before
  const table = s.tables.find((one) => one.pif === pif)
  if (table === undefined) return E.left(`Can't use -${option}, no outbound interface`)
  if (spec.kind === 'ports' && spec.ifname !== null && !isNoLonger(spec.ifname, MAX_IFNAME))
    return E.left(
      `Interface name '${spec.ifname}' is longer than a server takes (${MAX_IFNAME} octets): use the interface's own name`
    )
  const proto = option === 't' || option === 'T' ? 'tcp' : 'udp'
  if (spec.kind === 'none')
    return table.rules.some((r) => r.proto === proto)
      ? E.left(`-${option} none conflicts with previous options`)
      : E.right(s)
  const env = envOf(table.capabilities, ephemeral)
  const wanted = specRules(env, key, spec, 0)
  if (E.isLeft(wanted)) return E.left(specFault(wanted.left, option, text))
  let { rules } = table
  for (const r of wanted.right.map(toConfRule)) {
    const next = s.mode === 'delete' ? deleteRule(rules, r) : addRule(rules, r, table.capabilities)
    if (E.isLeft(next)) return next
    rules = next.right
  }
  const narrow = pif === PIF.SPLICE && !env.bindToDevice
  const warning = `SO_BINDTODEVICE unavailable, forwarding only 127.0.0.1 and ::1 for '-${option} ${text}'`
  return E.right({
    ...withRules(s, pif, rules),
    warnings: narrow ? [...s.warnings, warning] : s.warnings
  })
}

const operate = (s: State, o: Operation, ephemeral: PortRange): Next => {
  switch (o.type) {
    case 'add':
    case 'delete':
      return E.right({ ...s, mode: o.type })
    case 'clear': {
      const table = s.tables.find((one) => one.name === o.table)
      return table === undefined ? E.left(`Unsupported pif name ${o.table}`) : E.right(empty(s, table.pif))
    }
    case 'ports':
      return ports(s, o, ephemeral)
  }
}

/** Tables as they are to be. `ephemeral`: ports that `all` leaves out. Left: lines for people; nothing is to be told to the server. */
export const edited = (
  tables: ReadonlyArray<ConfTable>,
  operations: ReadonlyArray<Operation>,
  ephemeral: PortRange
): E.Either<string, Edited> => {
  let s: State = { tables, warnings: [], mode: null, emptied: new Set() }
  for (const o of operations) {
    const next = operate(s, o, ephemeral)
    if (E.isLeft(next)) return next
    s = next.right
  }
  return E.right({ tables: s.tables, warnings: s.warnings })
}

/** What the server is told. */
export const requestFor = (tables: ReadonlyArray<ConfTable>): ClientPart =>
  tables.map(({ pif, rules }) => ({ pif, rules }))

/** Did the server do it? Rules that are there although they were to go, or the other way round; others may have changed more since. */
export const notDone = (
  before: ReadonlyArray<ConfTable>,
  wanted: ReadonlyArray<ConfTable>,
  now: ReadonlyArray<ConfTable>
): ReadonlyArray<ConfRule> =>
  wanted.flatMap(({ pif, rules }) => {
    const of = (all: ReadonlyArray<ConfTable>): ReadonlyArray<ConfRule> =>
      all.find((one) => one.pif === pif)?.rules ?? []
    const [was, is] = [of(before), of(now)]
    return [
      ...rules.filter((r) => !hasRule(was, r) && !hasRule(is, r)),
      ...was.filter((r) => !hasRule(rules, r) && hasRule(is, r))
    ]
  })

/** As pesto lists them, line by line. */
export const listing = (heading: string, path: string, tables: ReadonlyArray<ConfTable>): string[] => [
  `${heading} (${path})`,
  ...tables.flatMap(({ name, rules }) => [`  ${name}`, ...rules.map((r) => `    ${showConfRule(r)}`)])
]
