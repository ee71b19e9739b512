import type { PageData } from '../data.js'
import { msOf, type Plot, plotsOf, rangeOf, valueOn } from '../model.js'
import { type Colours, coloursOf, draw, drawPlace, type Extent, placeAt, sized } from './canvas.js'
import { el } from './dom.js'

// Numbers of a flow over time, and the moment among them.

export interface PlotsView {
  readonly element: HTMLElement
  /** Over time, or over rows. */
  readonly byTime: HTMLInputElement
  readonly show: (subject: number) => void
  readonly go: (row: number) => void
}
interface Drawn {
  readonly plot: Plot
  readonly canvas: HTMLCanvasElement
  /** The same without the place in time. */
  readonly still: HTMLCanvasElement
  readonly values: ReadonlyArray<HTMLElement>
}
export const plotsView = (d: PageData, chosen: (row: number) => void): PlotsView => {
  const place = el('div', { class: 'plots-list' })
  const byTime = el('input', { type: 'checkbox', id: 'by-time', checked: true })
  const element = el('section', { class: 'plots', 'aria-label': 'Numbers over time' }, place)
  let subject = 0
  let current = 0
  let drawings: ReadonlyArray<Drawn> = []

  const xOf = (row: number): number => (byTime.checked ? msOf(d, row) : row - rangeOf(d, subject)[0])
  const extent = (): Extent => {
    const [from, to] = rangeOf(d, subject)
    if (from >= to) return [0, 1]
    const [a, b] = [xOf(from), xOf(to - 1)]
    return [a, b > a ? b : a + 1]
  }
  const still = ({ plot: { lines }, canvas, still: to }: Drawn, colours: Colours): void => {
    const [w, h] = [canvas.clientWidth, canvas.clientHeight]
    for (const c of [canvas, to]) sized(c, w, h)
    draw(to, w, h, { lines, xOf, extent: extent(), unit: byTime.checked ? 'ms' : 'rows' }, colours)
  }
  const moment = ({ plot, canvas, still: from, values }: Drawn, colours: Colours): void => {
    const g = canvas.getContext('2d')
    if (g === null || canvas.width === 0) return
    g.clearRect(0, 0, canvas.width, canvas.height)
    g.drawImage(from, 0, 0)
    drawPlace(canvas, extent(), xOf(current), colours.now)
    for (const [i, l] of plot.lines.entries()) {
      const v = valueOn(l, current)
      values[i]!.textContent = Number.isNaN(v) ? '–' : Number.isInteger(v) ? String(v) : v.toFixed(3)
    }
  }
  const redraw = (): void => {
    const colours = coloursOf(element)
    for (const one of drawings) {
      still(one, colours)
      moment(one, colours)
    }
  }
  const nearest = (canvas: HTMLCanvasElement, px: number): number => {
    const x = placeAt(px, canvas.clientWidth, extent())
    let [low, high] = rangeOf(d, subject)
    const last = high - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (xOf(middle) < x) low = middle + 1
      else high = middle
    }
    return Math.min(low, last)
  }
  byTime.addEventListener('change', redraw)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw)
  new ResizeObserver(redraw).observe(place)
  return {
    element,
    byTime,
    show: (which) => {
      subject = which
      drawings = plotsOf(d, subject).map((plot): Drawn => {
        const canvas = el('canvas', {
          role: 'img',
          'aria-label': `${plot.title}: ${plot.lines.map((l) => l.name).join(', ')}`
        })
        canvas.addEventListener('pointerdown', (e) => chosen(nearest(canvas, e.offsetX)))
        canvas.addEventListener('pointermove', (e) => {
          if (e.buttons === 1) chosen(nearest(canvas, e.offsetX))
        })
        return {
          plot,
          canvas,
          still: document.createElement('canvas'),
          values: plot.lines.map(() => el('output', {}))
        }
      })
      place.replaceChildren(
        ...drawings.map(({ plot, canvas, values }) =>
          el(
            'figure',
            {},
            el(
              'figcaption',
              {},
              el('b', {}, plot.title),
              el('small', {}, ` ${plot.unit}`),
              ...plot.lines.map((l, i) => el('span', { class: `key key-${i}` }, l.name, values[i]!))
            ),
            canvas
          )
        )
      )
      redraw()
    },
    go: (row) => {
      current = row
      const colours = coloursOf(element)
      for (const one of drawings) moment(one, colours)
    }
  }
}
