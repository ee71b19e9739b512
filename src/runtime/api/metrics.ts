import { type Counters, FLOW_KINDS, type RuleInfo, type Status } from '../../codecs/control/api.js'

// OpenMetrics text (specification 1.0 of the OpenMetrics project), names by Prometheus' conventions.

export const OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

const escaped = (text: string): string =>
  text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
type Labels = Readonly<Record<string, string>>
const sample = (name: string, labels: Labels, value: number): string => {
  const inside = Object.entries(labels).map(([k, v]) => `${k}="${escaped(v)}"`)
  return `${name}${inside.length === 0 ? '' : `{${inside.join(',')}}`} ${value}`
}
const family = (
  name: string,
  type: 'gauge' | 'counter' | 'info',
  help: string,
  samples: ReadonlyArray<readonly [Labels, number]>
): ReadonlyArray<string> => {
  const unit = ['seconds', 'bytes'].find((u) => name.endsWith(`_${u}`))
  const suffix = type === 'counter' ? '_total' : type === 'info' ? '_info' : ''
  return [
    `# TYPE ${name} ${type}`,
    ...(unit === undefined ? [] : [`# UNIT ${name} ${unit}`]),
    `# HELP ${name} ${help}`,
    ...samples.map(([labels, value]) => sample(`${name}${suffix}`, labels, value))
  ]
}

const DROP = 'drop-'

export const metrics = (s: Status, c: Counters, rules: ReadonlyArray<RuleInfo>): string => {
  const events = Object.entries(c.events)
  const drops = events.filter(([name]) => name.startsWith(DROP))
  const byKind = (n: Counters['open']): ReadonlyArray<readonly [Labels, number]> =>
    FLOW_KINDS.map((kind) => [{ kind }, n[kind] ?? 0])
  const labels = (r: RuleInfo): Labels => ({ rule: r.id, direction: r.direction })
  /** null: it has none. */
  const byRule = (of: (r: RuleInfo) => number | null): ReadonlyArray<readonly [Labels, number]> =>
    rules.flatMap((r): ReadonlyArray<readonly [Labels, number]> => {
      const n = of(r)
      return n === null ? [] : [[labels(r), n]]
    })
  return [
    ...family('passt', 'info', 'What serves.', [[{ version: s.version, mode: s.mode, link: s.link }, 1]]),
    ...family('passt_uptime_seconds', 'gauge', 'Since the start.', [[{}, s.uptimeMs / 1000]]),
    ...family('passt_guest_up', 'gauge', 'Is somebody at the other end of the link?', [
      [{}, s.guest.up ? 1 : 0]
    ]),
    ...family('passt_flows', 'gauge', 'Flows that there are.', byKind(c.open)),
    ...family('passt_flows_begun', 'counter', 'Flows that began.', byKind(c.begun)),
    ...family(
      'passt_rule_flows',
      'gauge',
      'Flows that there are, by forwarding rule.',
      byRule((r) => r.open)
    ),
    ...family(
      'passt_rule_flows_begun',
      'counter',
      'Flows that began, by forwarding rule.',
      byRule((r) => r.begun)
    ),
    ...family(
      'passt_rule_connections_accepted',
      'counter',
      'Connections that the target took, by forwarding rule.',
      byRule((r) => r.accepted)
    ),
    ...family(
      'passt_rule_bytes',
      'counter',
      'Data of connections that arrived, by forwarding rule and by whom it is for.',
      rules.flatMap((r) =>
        r.octetsToGuest === null || r.octetsToPeer === null
          ? []
          : [
              [{ ...labels(r), to: 'guest' }, r.octetsToGuest],
              [{ ...labels(r), to: 'peer' }, r.octetsToPeer]
            ]
      )
    ),
    ...family(
      'passt_rule_failures',
      'counter',
      'What the target did not take, by forwarding rule and errno.',
      rules.flatMap((r) => Object.entries(r.failures).map(([error, n]) => [{ ...labels(r), error }, n]))
    ),
    ...family(
      'passt_rule_target_answered',
      'gauge',
      'Was the target there when it was last asked?',
      byRule((r) => (r.target === null ? null : r.target.answered ? 1 : 0))
    ),
    ...family(
      'passt_drops',
      'counter',
      'Packets of the guest that were dropped, by reason.',
      drops.map(([name, n]) => [{ reason: name.slice(DROP.length) }, n])
    ),
    ...family(
      'passt_events',
      'counter',
      'What else was counted, by event.',
      events.filter(([name]) => !name.startsWith(DROP)).map(([event, n]) => [{ event }, n])
    ),
    '# EOF',
    ''
  ].join('\n')
}
