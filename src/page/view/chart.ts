import type { Chart } from '../data.js'
import { type Layout, layoutOf, pathOf } from '../layout.js'
import { stateName } from '../model.js'
import { el, svg } from './dom.js'

// The chart of a machine: where it is, where it was, and which way it came.

export interface ChartView {
  readonly element: HTMLElement
  /** `state`, `from`: where the machine is, and was before; -1: nowhere. `taken`: ends of the transition, null: none was taken. */
  readonly show: (
    chart: Chart | null,
    state: number,
    from: number,
    taken: { readonly from: number; readonly to: number } | null,
    seen: ReadonlySet<number>
  ) => void
}
interface Drawn {
  readonly chart: Chart
  readonly element: SVGSVGElement
  readonly boxes: ReadonlyMap<number, SVGGElement>
  readonly arrows: ReadonlyMap<string, SVGPathElement>
}
/** Of composite states these have others inside. */
const isOuter = (c: Chart, n: number): boolean => c.nodes.some((x) => x.parent === n)

const head = (id: string, size: number): SVGMarkerElement =>
  svg(
    'marker',
    {
      id,
      viewBox: '0 0 8 8',
      refX: 7,
      refY: 4,
      markerWidth: size,
      markerHeight: size,
      markerUnits: 'userSpaceOnUse',
      orient: 'auto'
    },
    svg('path', { d: 'M0 0L8 4L0 8Z', class: id })
  )

const drawn = (chart: Chart): Drawn => {
  const layout: Layout = layoutOf(chart)
  const boxes = new Map<number, SVGGElement>()
  const arrows = new Map<string, SVGPathElement>()
  const outer: SVGElement[] = []
  const inner: SVGElement[] = []
  for (const [n, box] of layout.boxes.entries()) {
    if (n === 0) continue
    const node = chart.nodes[n]!
    const isGroup = isOuter(chart, n)
    const title = svg(
      'text',
      isGroup
        ? { x: box.x + 10, y: box.y + 16, class: 'group-name' }
        : { x: box.x + box.w / 2, y: box.y + box.h / 2 + 4, 'text-anchor': 'middle' },
      node.key
    )
    const shape = svg('rect', { x: box.x, y: box.y, width: box.w, height: box.h, rx: isGroup ? 10 : 7 })
    const g = svg(
      'g',
      {
        class: `${isGroup ? 'group' : 'leaf'}${node.type === 'final' ? ' final' : ''}`,
        'data-state': node.key
      },
      shape,
      title,
      svg(
        'title',
        {},
        node.description === '' ? stateName(node.key) : `${stateName(node.key)}: ${node.description}`
      )
    )
    boxes.set(n, g)
    ;(isGroup ? outer : inner).push(g)
  }
  if (layout.anywhere !== null) {
    const { x, y, w, h } = layout.anywhere
    inner.push(
      svg(
        'g',
        { class: 'leaf anywhere' },
        svg('rect', { x, y, width: w, height: h, rx: 7 }),
        svg('text', { x: x + w / 2, y: y + h / 2 + 4, 'text-anchor': 'middle' }, 'any state')
      )
    )
  }
  for (const { arrow, points } of layout.routes) {
    const path = svg(
      'path',
      { d: pathOf(points), class: 'way', 'marker-end': 'url(#head)' },
      svg('title', {}, arrow.causes.join('\n'))
    )
    arrows.set(`${arrow.from} ${arrow.to}`, path)
  }
  const element = svg(
    'svg',
    {
      viewBox: `0 0 ${Math.ceil(layout.width)} ${Math.ceil(layout.height)}`,
      width: Math.ceil(layout.width),
      height: Math.ceil(layout.height),
      role: 'img'
    },
    svg('defs', {}, head('head', 8), head('head-lit', 13)),
    ...outer,
    ...arrows.values(),
    ...inner
  )
  return { chart, element, boxes, arrows }
}

export const chartView = (): ChartView => {
  const known = new Map<Chart, Drawn>()
  const name = el('h2', {})
  const place = el('div', { class: 'drawing', tabindex: 0, role: 'group', 'aria-label': 'Chart' })
  const element = el('section', { class: 'chart', 'aria-label': 'Machine' }, name, place)
  return {
    element,
    show: (chart, state, from, taken, seen) => {
      if (chart === null) {
        name.textContent = 'no machine'
        place.replaceChildren(el('p', { class: 'none' }, 'What belongs to no flow has no chart.'))
        return
      }
      const c = known.get(chart) ?? drawn(chart)
      known.set(chart, c)
      if (place.firstChild !== c.element) place.replaceChildren(c.element)
      const key = chart.nodes[state]?.key
      const where = key === undefined ? 'not begun' : stateName(key)
      name.replaceChildren(`${chart.id} `, el('b', { class: 'state', id: 'state' }, where))
      name.title = chart.description
      c.element.setAttribute('aria-label', `Chart of ${chart.id}; it is in ${where}`)
      const around = new Set<number>()
      for (let n = state; n > 0; n = chart.nodes[n]!.parent) around.add(n)
      for (const [n, box] of c.boxes) {
        box.classList.toggle('lit', n === state)
        box.classList.toggle('around', n !== state && around.has(n))
        box.classList.toggle('left', n === from && from !== state)
        box.classList.toggle('seen', seen.has(n) && n !== state)
      }
      // What leads into a composite state ends at its border
      const key_ = taken === null ? '' : `${taken.from} ${taken.to}`
      for (const [k, path] of c.arrows) {
        const isTaken = k === key_
        path.classList.toggle('taken', isTaken)
        path.setAttribute('marker-end', isTaken ? 'url(#head-lit)' : 'url(#head)')
        if (isTaken) path.parentNode?.insertBefore(path, c.element.querySelector('.leaf'))
      }
    }
  }
}
