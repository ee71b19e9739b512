import { brief, type Line, marksOf } from '../model.js'

// Lines over an axis, on canvas: there may be 100,000 points.

const LEFT = 46
const RIGHT = 8
const TOP = 6
const BOTTOM = 18

export interface Colours {
  readonly lines: ReadonlyArray<string>
  readonly axis: string
  readonly grid: string
  readonly now: string
}
export const coloursOf = (e: Element): Colours => {
  const style = getComputedStyle(e)
  const of = (name: string): string => style.getPropertyValue(name).trim()
  return {
    lines: [of('--line-0'), of('--line-1'), of('--line-2'), of('--line-3')],
    axis: of('--dim'),
    grid: of('--border'),
    now: of('--lit')
  }
}

/** From the first to the last place of an axis. */
export type Extent = readonly [number, number]
/** Where a place is, px. */
export const scaled = (width: number, [a, b]: Extent): ((x: number) => number) => {
  const by = (width - LEFT - RIGHT) / (b - a)
  return (x) => LEFT + (x - a) * by
}
/** What place is at `px`. */
export const placeAt = (px: number, width: number, [a, b]: Extent): number =>
  a + ((px - LEFT) / (width - LEFT - RIGHT)) * (b - a)

export interface Drawing {
  readonly lines: ReadonlyArray<Line>
  /** Place of a row on the axis. */
  readonly xOf: (row: number) => number
  readonly extent: Extent
  /** Behind the last mark of the axis. */
  readonly unit: string
}
/** As many pixels as it has on the screen. */
export const sized = (to: HTMLCanvasElement, width: number, height: number): void => {
  const scale = devicePixelRatio
  to.width = Math.round(width * scale)
  to.height = Math.round(height * scale)
}
/** Held until the next value; within one pixel only what is seen. */
const stroke = (
  g: CanvasRenderingContext2D,
  l: Line,
  x: (row: number) => number,
  y: (v: number) => number,
  end: number
): void => {
  g.beginPath()
  let before = Number.NaN
  let at = Number.NEGATIVE_INFINITY
  for (const [i, v] of l.values.entries()) {
    const px = x(l.rows[i]!)
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
/** Axes and lines. `w`, `h`: px of the page; `to` is sized() so. */
export const draw = (
  to: HTMLCanvasElement,
  w: number,
  h: number,
  { lines, xOf, extent, unit }: Drawing,
  colours: Colours
): void => {
  const g = to.getContext('2d')
  if (g === null || w === 0) return
  g.scale(devicePixelRatio, devicePixelRatio)
  g.font = '10px system-ui, sans-serif'
  const most = lines.reduce((m, l) => l.values.reduce((a, v) => (v > a ? v : a), m), 0)
  const x = scaled(w, extent)
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
  g.textBaseline = 'alphabetic'
  const marks = marksOf(extent[0], extent[1], 4)
  for (const [i, mark] of marks.entries()) {
    const isLast = i === marks.length - 1
    g.textAlign = isLast && x(mark) > w - 30 ? 'right' : 'center'
    const text = isLast ? `${brief(mark)} ${unit}` : brief(mark)
    g.fillText(text, Math.min(x(mark), w - 2), h - 5)
  }
  g.lineWidth = 1.5
  g.lineJoin = 'round'
  for (const [i, l] of lines.entries()) {
    g.strokeStyle = colours.lines[i % colours.lines.length]!
    stroke(g, l, (row) => x(xOf(row)), y, w - RIGHT)
  }
}
/** A place on the axis, over what is drawn. */
export const drawPlace = (canvas: HTMLCanvasElement, extent: Extent, place: number, colour: string): void => {
  const g = canvas.getContext('2d')
  if (g === null) return
  const scale = devicePixelRatio
  const x = scaled(canvas.clientWidth, extent)(place) * scale
  g.strokeStyle = colour
  g.lineWidth = 1.5 * scale
  g.beginPath()
  g.moveTo(x, 0)
  g.lineTo(x, canvas.height - BOTTOM * scale)
  g.stroke()
}
