import { type Live, lineOf, type Sample, shortText } from '../live-model.js'
import { coloursOf, draw, sized } from './canvas.js'
import { el } from './dom.js'

// What went by over the last minutes, all flows together, and of the flow that is looked at.

/** What a flow moved, up to a moment. */
export type FlowSample = Pick<Sample, 'at' | 'toGuest' | 'toPeer'>

export interface LivePlots {
  readonly element: HTMLElement
  readonly show: (m: Live, ofFlow: ReadonlyArray<FlowSample>) => void
}
interface LineName {
  readonly name: string
  readonly value: (s: Sample) => number
}
interface Figure {
  readonly title: string
  readonly unit: string
  readonly lines: ReadonlyArray<LineName>
  readonly ofFlow: boolean
}
const WAYS: ReadonlyArray<LineName> = [
  { name: 'to the guest', value: (s) => s.toGuest },
  { name: 'to peers', value: (s) => s.toPeer }
]
const FIGURES: ReadonlyArray<Figure> = [
  { title: 'Throughput', unit: 'octets/s, TCP', lines: WAYS, ofFlow: false },
  { title: 'This flow', unit: 'octets/s', lines: WAYS, ofFlow: true },
  { title: 'Flows', unit: 'open', lines: [{ name: 'there are', value: (s) => s.open }], ofFlow: false },
  { title: 'Drops', unit: 'packets/s', lines: [{ name: 'dropped', value: (s) => s.drops }], ofFlow: false }
]
/** Seconds that a plot shows at least. */
const SPAN = 60

export const livePlots = (): LivePlots => {
  const drawings = FIGURES.map((figure) => {
    const canvas = el('canvas', {
      role: 'img',
      'aria-label': `${figure.title}: ${figure.lines.map((l) => l.name).join(', ')}`
    })
    return { figure, canvas, values: figure.lines.map(() => el('output', {})) }
  })
  const place = el(
    'div',
    { class: 'plots-list' },
    ...drawings.map(({ figure: { title, unit, lines }, canvas, values }) =>
      el(
        'figure',
        {},
        el(
          'figcaption',
          {},
          el('span', {}, el('b', {}, title), el('small', {}, ` ${unit}`)),
          ...lines.map((l, i) => el('span', { class: `key key-${i + 1}` }, l.name, values[i]!))
        ),
        canvas
      )
    )
  )
  const element = el('section', { class: 'plots', 'aria-label': 'Over time' }, place)
  let shown: { readonly all: ReadonlyArray<Sample>; readonly flow: ReadonlyArray<Sample> } = {
    all: [],
    flow: []
  }
  const redraw = (): void => {
    const colours = coloursOf(element)
    for (const { figure, canvas, values } of drawings) {
      const samples = figure.ofFlow ? shown.flow : shown.all
      const now = samples.at(-1)?.at ?? 0
      const first = samples[0]?.at ?? 0
      const [w, h] = [canvas.clientWidth, canvas.clientHeight]
      sized(canvas, w, h)
      draw(
        canvas,
        w,
        h,
        {
          lines: figure.lines.map((l) => lineOf(l.name, samples, l.value)),
          xOf: (i) => (samples[i]!.at - now) / 1000,
          extent: [-Math.max(SPAN, (now - first) / 1000), 0],
          unit: 's'
        },
        { ...colours, lines: colours.lines.slice(1) }
      )
      for (const [i, l] of figure.lines.entries()) {
        const s = samples.at(-1)
        const v = s === undefined ? Number.NaN : l.value(s)
        values[i]!.textContent = Number.isNaN(v) ? '–' : shortText(v)
      }
    }
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw)
  new ResizeObserver(redraw).observe(place)
  return {
    element,
    show: (m, ofFlow) => {
      shown = {
        all: m.samples,
        flow: ofFlow.map((s) => ({ ...s, open: Number.NaN, drops: Number.NaN }))
      }
      redraw()
    }
  }
}
