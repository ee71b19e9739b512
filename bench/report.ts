// Results as numbers, Markdown and SVG.
import type { Metric } from './rows.js'

export interface Outcome {
  readonly row: string
  readonly title: string
  readonly metric: Metric
  /** Samples in the order taken; a failed one is NaN. */
  readonly ours: ReadonlyArray<number>
  readonly upstream: ReadonlyArray<number>
}
export interface Run {
  readonly date: string
  readonly kernel: string
  readonly cpu: string
  readonly node: string
  readonly versions: { readonly ours: string; readonly upstream: string }
  readonly rounds: number
  readonly quick: boolean
  readonly congestion: string
  readonly outcomes: ReadonlyArray<Outcome>
  readonly failures: ReadonlyArray<string>
}

/** Median of the samples that succeeded; NaN when none did. */
export const median = (samples: ReadonlyArray<number>): number => {
  const v = samples.filter((x) => !Number.isNaN(x)).sort((a, b) => a - b)
  if (v.length === 0) return Number.NaN
  const m = v.length >> 1
  return v.length % 2 === 1 ? v[m]! : (v[m - 1]! + v[m]!) / 2
}
export const ratio = (o: Outcome): number => median(o.ours) / median(o.upstream)
/** Whether the goal is met; undefined without one. NaN meets nothing. */
export const meets = (o: Outcome): boolean | undefined => {
  const goal = o.metric.goal
  if (goal === undefined) return undefined
  const value = goal.of === 'ratio' ? ratio(o) : median(o.ours)
  return o.metric.better === 'higher' ? value >= goal.bound : value <= goal.bound
}

const figure = (x: number): string =>
  Number.isNaN(x)
    ? 'failed'
    : x === 0
      ? '0'
      : x >= 100
        ? x.toFixed(0)
        : x >= 10
          ? x.toFixed(1)
          : x.toPrecision(3)
const goalText = ({ goal, better, unit }: Metric): string =>
  goal === undefined
    ? ''
    : `${better === 'higher' ? '≥' : '≤'} ${goal.bound}${goal.of === 'ours' ? ` ${unit}` : ''}`
const spread = (v: ReadonlyArray<number>): string => {
  const good = v.filter((x) => !Number.isNaN(x))
  return good.length < 2 ? '' : ` (${figure(Math.min(...good))}–${figure(Math.max(...good))})`
}

export const table = (run: Run): string => {
  const lines = run.outcomes.map((o) => {
    const met = meets(o)
    const cells = [
      o.title,
      o.metric.name,
      o.metric.unit,
      figure(median(o.ours)) + spread(o.ours),
      figure(median(o.upstream)) + spread(o.upstream),
      figure(ratio(o)),
      goalText(o.metric),
      met === undefined ? '' : met ? 'yes' : '**no**'
    ]
    return `| ${cells.join(' | ')} |`
  })
  return [
    '| row | metric | unit | ours | upstream | ratio | goal | met |',
    '|---|---|---|---|---|---|---|---|',
    ...lines
  ].join('\n')
}

export const markdown = (
  run: Run
): string => `${run.quick ? 'A **quick** run: good for trying the bench, not for figures.\n\n' : ''}- Date: ${run.date}
- Kernel: ${run.kernel}; ${run.cpu}; Node ${run.node}
- Ours: ${run.versions.ours}; upstream: ${run.versions.upstream}
- Method: network namespaces "host" and "world" joined by veth; the program runs in "host" as an ordinary user, the load in
  its namespace, the server in "world", reached through the tap (rows «→ host»: on the host's loopback, through the
  gateway's mapped address). Rows with -t, -u: the server in the namespace, the load in "world" (through the tap) or on the
  host's loopback (bypass); with -T, -U the load in the namespace, the server on the host's loopback (bypass). Rows of passt:
  a namespace's tap, bridged onto its socket by test/lib/tapbridge.cc, plain frames without offloads. ${run.rounds} round${run.rounds === 1 ? '' : 's'}; in each both programs one after the other, the order swapped
  from round to round, a fresh process for each sample. Given: median (least–greatest); ratio: ours by upstream's.
- Congestion control: ${run.congestion}.
- TCP and UDP throughput: iperf3, 10 s, octets that the receiver counted. Round trips, connections, start-up: \`bench/rr.cc\`,
  10,000 round trips and 1,000 connections in a sample, after 1 s of idle time and 1,000 unmeasured; rows «first 500»: the
  very first ones of a fresh process, without either.
  Rows «at once»: \`bench/crowd.cc\`, 128 connections under way for 10 s; beside them, each 10 ms, a ping, an octet there and back
  on a connection that stays, and one on a new connection. What had no answer within 2 s counts as 2 s.
  Start-up: from exec to the command's first octet, as seen by the parent. Memory: VmRSS summed over all processes of
  the program (pages that they share count more than once).

${table(run)}

![ratios](performance.svg)
${run.failures.length === 0 ? '' : `\nFailed samples:\n\n${run.failures.map((f) => `- ${f}`).join('\n')}\n`}`

const MADE = /(<!-- npm run bench -- --docs -->\n).*(<!-- end -->)/s
/** docs/performance.md with what a run has measured; all else in it is by hand. */
export const withMeasured = (page: string, run: Run): string => {
  if (!MADE.test(page)) throw new Error('no place for what was measured')
  return page.replace(MADE, (_, head: string, end: string) => `${head}\n${markdown(run)}\n${end}`)
}

const xml = (s: string): string => s.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')

/** Bars on a logarithmic axis: how many times better (right, green) or worse (left, orange) than upstream. */
export const svg = (run: Run): string => {
  const bars = run.outcomes.map((o) => {
    const r = ratio(o)
    const times = o.metric.better === 'higher' ? r : 1 / r
    return { o, times: Number.isFinite(times) && times > 0 ? times : Number.NaN }
  })
  const decades = Math.ceil(
    Math.max(1, ...bars.map((b) => Math.abs(Math.log10(b.times))).filter(Number.isFinite))
  )
  const label = 500
  const plot = 420
  const line = 20
  const top = 46
  const height = top + bars.length * line + 34
  const x = (times: number): number => label + plot / 2 + (Math.log10(times) / decades) * (plot / 2)
  const ticks = Array.from({ length: 2 * decades + 1 }, (_, i) => 10 ** (i - decades))
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${label + plot + 190}" height="${height}" font-family="sans-serif" font-size="12">`,
    '<title>Performance compared with upstream</title>',
    '<rect width="100%" height="100%" fill="white"/>',
    `<text x="10" y="18" font-size="14">Times better than upstream (right of 1: better), ${xml(run.date.slice(0, 10))}</text>`,
    ...ticks.map(
      (t) =>
        `<line x1="${x(t)}" y1="${top - 8}" x2="${x(t)}" y2="${height - 26}" stroke="${t === 1 ? '#333' : '#ddd'}"/>` +
        `<text x="${x(t)}" y="${height - 10}" text-anchor="middle">${t >= 1 ? t : `1/${Math.round(1 / t)}`}</text>`
    ),
    ...bars.map(({ o, times }, i) => {
      const y = top + i * line
      const name = `${o.title}${o.metric.name === 'throughput' ? '' : `: ${o.metric.name}`}`
      const text = `<text x="${label - 8}" y="${y + 12}" text-anchor="end">${xml(name)}</text>`
      if (Number.isNaN(times)) return `${text}<text x="${x(1) + 6}" y="${y + 12}">no figure</text>`
      const from = Math.min(x(1), x(times))
      const width = Math.max(1, Math.abs(x(times) - x(1)))
      const colour = times >= 1 ? '#3a9d5d' : '#e08a3c'
      const values = `${figure(median(o.ours))} / ${figure(median(o.upstream))} ${o.metric.unit}`
      return (
        `${text}<rect x="${from}" y="${y + 2}" width="${width}" height="${line - 7}" fill="${colour}"/>` +
        `<text x="${label + plot + 8}" y="${y + 12}">${xml(values)}</text>`
      )
    }),
    '</svg>'
  ]
  return `${parts.join('\n')}\n`
}
