import type {
  Counters,
  FlowEvent,
  FlowInfo,
  Place,
  RecordInfo,
  RouteInfo,
  RuleInfo,
  Status,
  TraceInfo
} from '../../codecs/control/api.js'

// What passt-ctl(1) shows: tables for people, as lines.

/** Columns as wide as what is in them; numbers to the right. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string | number>>) => {
  const all = [head, ...rows]
  const widths = head.map((_, i) => Math.max(...all.map((r) => String(r[i] ?? '').length)))
  const right = head.map((_, i) => rows.length > 0 && rows.every((r) => /^[\d-]/.test(String(r[i] ?? '-'))))
  return all.map((r) =>
    widths
      .map((w, i) => (right[i] ? String(r[i] ?? '').padStart(w) : String(r[i] ?? '').padEnd(w)))
      .join('  ')
      .trimEnd()
  )
}

const UNITS = ['', 'k', 'M', 'G', 'T']
/** 1234567 -> '1.2M' */
export const short = (n: number): string => {
  let unit = 0
  let x = n
  for (; x >= 1000 && unit < UNITS.length - 1; unit++) x /= 1000
  return unit === 0 ? String(Math.round(x)) : `${x < 10 ? x.toFixed(1) : Math.round(x)}${UNITS[unit] ?? ''}`
}
const orNone = <A>(a: A | null, text: (a: A) => string): string => (a === null ? '-' : text(a))
const age = (ms: number): string => {
  const s = Math.floor(ms / 1000)
  return s < 60
    ? `${s}s`
    : s < 3600
      ? `${Math.floor(s / 60)}m${s % 60}s`
      : `${Math.floor(s / 3600)}h${Math.floor((s % 3600) / 60)}m`
}
const ms = (n: number): string => (n < 10 ? n.toFixed(1) : String(Math.round(n)))
const place = ({ address, port }: Place): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

export const flowTable = (flows: ReadonlyArray<FlowInfo>): ReadonlyArray<string> =>
  table(
    ['KIND', 'STATE', 'GUEST', '', 'PEER', 'TO-GUEST', 'TO-PEER', 'RTT', 'AGE'],
    flows.map((f) => [
      f.kind,
      f.state,
      place(f.guest),
      f.origin === 'guest' ? '->' : '<-',
      place(f.peer),
      orNone(f.octetsToGuest, short),
      orNone(f.octetsToPeer, short),
      orNone(f.rttPeerMs ?? f.rttGuestMs, ms),
      orNone(f.ageMs, age)
    ])
  )

/** '12.3s begin tcp 192.0.2.2:5012 -> 198.51.100.7:443' */
export const eventLine = ({ event, uptimeMs, flow: f }: FlowEvent): string => {
  const octets = f.octetsToGuest === null ? '' : `, ${f.octetsToGuest} to guest, ${f.octetsToPeer} to peer`
  return [
    `${(uptimeMs / 1000).toFixed(1)}s`.padStart(8),
    event.padEnd(5),
    f.kind,
    place(f.guest),
    f.origin === 'guest' ? '->' : '<-',
    `${place(f.peer)}${f.rule === null ? '' : ` by ${f.rule}`}${event === 'end' ? octets : ''}`
  ].join(' ')
}

export const ruleTable = (rules: ReadonlyArray<RuleInfo>): ReadonlyArray<string> =>
  table(
    ['ID', 'OPEN', 'BEGUN', 'FAILED', 'TO-GUEST', 'TO-PEER', 'TARGET', 'RULE'],
    rules.map((r) => [
      r.id,
      r.open,
      r.begun,
      Object.values(r.failures).reduce((sum, n) => sum + n, 0),
      orNone(r.octetsToGuest, short),
      orNone(r.octetsToPeer, short),
      r.target === null ? '-' : r.target.answered ? 'up' : 'down',
      r.text
    ])
  )

export const counterTable = (c: Counters): ReadonlyArray<string> => [
  ...table(
    ['FLOWS', 'OPEN', 'BEGUN'],
    Object.entries(c.open).map(([kind, n]) => [kind, n, c.begun[kind as keyof Counters['begun']] ?? 0])
  ),
  '',
  ...table(
    ['EVENT', 'COUNT'],
    Object.entries(c.events).sort(([a], [b]) => (a < b ? -1 : 1))
  )
]

const familyLine = (name: string, f: Status['ipv4']): ReadonlyArray<string> =>
  f === null
    ? [`${name}: off`]
    : [
        `${name}: ${f.address ?? 'no address'}/${f.prefixLength} by ${f.gateway ?? 'no gateway'} on ${f.interface ?? 'no interface'}, DNS ${f.dns.length === 0 ? 'none' : f.dns.join(' ')}`
      ]
const routeText = ({ destination, gateways, metric }: RouteInfo): string =>
  `    ${destination}${gateways.map((g) => ` via ${g}`).join('')}${metric === null ? '' : ` metric ${metric}`}`
const namespaceLines = (n: Status['namespace']): ReadonlyArray<string> => {
  if (n === null) return []
  const more = n.routesInAll - n.routes.length
  const moreLeft = n.leftOutInAll - n.leftOut.length
  return [
    `namespace: ${n.addresses.join(' ') || 'no address'}; ${n.routesInAll} routes`,
    ...n.routes.map(routeText),
    ...(more === 0 ? [] : [`    and ${more} more`]),
    ...n.leftOut.map((what) => `    left out: ${what}`),
    ...(moreLeft === 0 ? [] : [`    and ${moreLeft} more`])
  ]
}
export const statusLines = (s: Status): ReadonlyArray<string> => [
  `${s.mode} ${s.version}, PID ${s.pid}, up ${age(s.uptimeMs)}`,
  `link: ${s.link}${s.mode === 'pasta' ? ` ${s.interface}` : ''}, MTU ${s.mtu === 0 ? 'not assigned' : s.mtu}, our MAC ${s.mac}`,
  `guest: ${s.guest.up ? 'up' : 'not there'}, MAC ${s.guest.mac}, ${[s.guest.ipv4, s.guest.ipv6].filter((a) => a !== null).join(' ') || 'no address yet'}`,
  ...familyLine('IPv4', s.ipv4),
  ...familyLine('IPv6', s.ipv6),
  ...namespaceLines(s.namespace),
  `serves: ${s.serves.join(' ')}`
]

export const traceLines = (t: TraceInfo): ReadonlyArray<string> => {
  if (t.endsInMs === null) return ['nothing is traced']
  const what = [...(t.flows ? ['flows'] : []), ...(t.packets ? ['packets'] : [])].join(' and ')
  const of = [
    ...(t.flow === null ? [] : [`flow ${t.flow}`]),
    ...(t.port === null ? [] : [`port ${t.port}`]),
    ...(t.address === null ? [] : [t.address])
  ]
  return [
    `${what}${of.length === 0 ? '' : ` of ${of.join(', ')}`}, for ${age(t.endsInMs)} more; ${t.lines} lines, ${t.lost} left out`
  ]
}

/** Octets a second each way, by flow: what `now` has more than `before` did, modulo 2^32. */
export const topRows = (
  before: ReadonlyArray<FlowInfo>,
  now: ReadonlyArray<FlowInfo>,
  seconds: number
): ReadonlyArray<FlowInfo & { readonly rate: number }> => {
  const name = (f: FlowInfo): string => `${f.id} ${f.beganMs} ${f.kind} ${place(f.guest)} ${place(f.peer)}`
  const old = new Map(before.map((f) => [name(f), f]))
  const rate = (a: number | null, b: number | null): number | null =>
    a === null ? null : Math.round((a >= (b ?? 0) ? a - (b ?? 0) : a - (b ?? 0) + 2 ** 32) / seconds)
  return now
    .map((f) => {
      const was = old.get(name(f))
      const octetsToPeer = rate(f.octetsToPeer, was?.octetsToPeer ?? null)
      const octetsToGuest = rate(f.octetsToGuest, was?.octetsToGuest ?? null)
      return { ...f, octetsToPeer, octetsToGuest, rate: (octetsToPeer ?? 0) + (octetsToGuest ?? 0) }
    })
    .sort((a, b) => b.rate - a.rate)
}

/** Of the record, in one line. */
export const recordLine = ({ on, waits, ended, octets }: RecordInfo): string => {
  if (waits !== null) return `waits: ${waits}${on ? '; until then what was begun goes on' : ''}`
  if (on) return `on, ${short(octets)}B so far`
  return ended === null ? 'off' : `off (${ended}), ${short(octets)}B`
}
