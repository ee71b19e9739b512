import type { PageData } from '../data.js'
import { brief, type Line, marksOf, msOf, type Plot, plotsOf, rangeOf, valueOn } from '../model.js'
import { el } from './dom.js'

// Numbers over time, on canvas: a flow may have 100,000 points.

const LEFT = 46
const RIGHT = 8
const TOP = 6
const BOTTOM = 18

export interface PlotsView {
  readonly element: HTMLElement
  /** Over time, or over rows. */
  readonly byTime: HTMLInputElement
  readonly show: (subject: number) => void
  readonly go: (row: number) => void
}
interface Drawing {
  readonly plot: Plot
  readonly canvas: HTMLCanvasElement
  /** The same without the place in time. */
  readonly still: HTMLCanvasElement
  readonly values: ReadonlyArray<HTMLElement>
}
interface Colours {
  readonly lines: ReadonlyArray<string>
  readonly axis: string
  readonly grid: string
  readonly now: string
}
const coloursOf = (e: Element): Colours => {
  const style = getComputedStyle(e)
  const of = (name: string): string => style.getPropertyValue(name).trim()
  return {
    lines: [of('--line-0'), of('--line-1'), of('--line-2'), of('--line-3')],
    axis: of('--dim'),
    grid: of('--border'),
    now: of('--lit')
  }
}

export const plotsView = (d: PageData, chosen: (row: number) => void): PlotsView => {
  const place = el('div', { class: 'plots-list' })
  const byTime = el('input', { type: 'checkbox', id: 'by-time', checked: true })
  const element = el('section', { class: 'plots', 'aria-label': 'Numbers over time' }, place)
  let subject = 0
  let current = 0
  let drawings: ReadonlyArray<Drawing> = []

  const xOf = (row: number): number => (byTime.checked ? msOf(d, row) : row - rangeOf(d, subject)[0])
  const extent = (): readonly [number, number] => {
    const [from, to] = rangeOf(d, subject)
    if (from >= to) return [0, 1]
    const [a, b] = [xOf(from), xOf(to - 1)]
    return [a, b > a ? b : a + 1]
  }
  const scaled = (width: number): ((x: number) => number) => {
    const [a, b] = extent()
    return (x) => LEFT + ((x - a) / (b - a)) * (width - LEFT - RIGHT)
  }
  /** Held until the next value; within one pixel only what is seen. */
  const stroke = (
    g: CanvasRenderingContext2D,
    l: Line,
    x: (v: number) => number,
    y: (v: number) => number,
    end: number
  ): void => {
    g.beginPath()
    let before = Number.NaN
    let at = Number.NEGATIVE_INFINITY
    for (const [i, v] of l.values.entries()) {
      const px = x(xOf(l.rows[i]!))
      if (Number.isNaN(v)) {
        if (!Number.isNaN(before)) g.lineTo(px, y(before))
        before = v
        continue
      }
      const py = y(v)
      if (Number.isNaN(before)) g.moveTo(px, py)
      else if (px - at >= 0.5 || Math.abs(py - y(before)) >= 0.5) {
        g.lineTo(px, y(before))
        g.lineTo(px, py)
      } else continue
      at = px
      before = v
    }
    if (!Number.isNaN(before)) g.lineTo(end, y(before))
    g.stroke()
  }
  const still = ({ plot, canvas, still: to }: Drawing, colours: Colours): void => {
    const scale = devicePixelRatio
    const [w, h] = [canvas.clientWidth, canvas.clientHeight]
    for (const c of [canvas, to]) {
      c.width = Math.round(w * scale)
      c.height = Math.round(h * scale)
    }
    const g = to.getContext('2d')
    if (g === null || w === 0) return
    g.scale(scale, scale)
    g.font = '10px system-ui, sans-serif'
    const most = plot.lines.reduce((m, l) => l.values.reduce((a, v) => (v > a ? v : a), m), 0)
    const x = scaled(w)
    const y = (v: number): number => h - BOTTOM - (v / (most || 1)) * (h - TOP - BOTTOM)
    g.fillStyle = colours.axis
    g.strokeStyle = colours.grid
    g.textAlign = 'right'
    g.textBaseline = 'middle'
    for (const mark of marksOf(0, most, 3)) {
      const py = Math.round(y(mark)) + 0.5
      g.beginPath()
      g.moveTo(LEFT, py)
      g.lineTo(w - RIGHT, py)
      g.stroke()
      g.fillText(brief(mark), LEFT - 5, py)
    }
    const [a, b] = extent()
    g.textBaseline = 'alphabetic'
    const marks = marksOf(a, b, 4)
    for (const [i, mark] of marks.entries()) {
      const isLast = i === marks.length - 1
      g.textAlign = isLast && x(mark) > w - 30 ? 'right' : 'center'
      const text = isLast ? `${brief(mark)} ${byTime.checked ? 'ms' : 'rows'}` : brief(mark)
      g.fillText(text, Math.min(x(mark), w - 2), h - 5)
    }
    g.lineWidth = 1.5
    g.lineJoin = 'round'
    for (const [i, l] of plot.lines.entries()) {
      g.strokeStyle = colours.lines[i % colours.lines.length]!
      stroke(g, l, x, y, w - RIGHT)
    }
  }
  const moment = ({ plot, canvas, still: from, values }: Drawing, colours: Colours): void => {
    const g = canvas.getContext('2d')
    if (g === null || canvas.width === 0) return
    g.clearRect(0, 0, canvas.width, canvas.height)
    g.drawImage(from, 0, 0)
    const scale = devicePixelRatio
    const x = scaled(canvas.clientWidth)(xOf(current)) * scale
    g.strokeStyle = colours.now
    g.lineWidth = 1.5 * scale
    g.beginPath()
    g.moveTo(x, 0)
    g.lineTo(x, canvas.height - BOTTOM * scale)
    g.stroke()
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
    const [a, b] = extent()
    const x = a + ((px - LEFT) / (canvas.clientWidth - LEFT - RIGHT)) * (b - a)
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
      drawings = plotsOf(d, subject).map((plot): Drawing => {
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
