import type { Chart, ChartArrow } from './data.js'

// Where the states of a chart are drawn: in layers, as arrows lead from the first state on (Sugiyama, Tagawa, Toda 1981). Each composite state is laid
// out by itself and is then one box of the state around it.

export interface Box {
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}
export interface Point {
  readonly x: number
  readonly y: number
}
export interface Route {
  readonly arrow: ChartArrow
  /** From the border of one box to that of the other. */
  readonly points: ReadonlyArray<Point>
}
export interface Layout {
  readonly width: number
  readonly height: number
  /** By index of the state; that of the root is all of it. */
  readonly boxes: ReadonlyArray<Box>
  /** Where arrows begin that every state has; null: there are none. */
  readonly anywhere: Box | null
  readonly routes: ReadonlyArray<Route>
}

const LETTER = 7
const HEIGHT = 28
const TITLE = 22
const PAD = 14
/** Between layers, and beside each other. */
const LAYER_GAP = 30
const GAP = 18
/** Of an arrow that passes a layer. */
const LANE = 8
/** In place of a state: all of them. */
export const ANYWHERE = 0

/** A state in its layer, or a place where an arrow passes. */
interface Item {
  /** Index of the state; -1: a place to pass. */
  readonly node: number
  readonly w: number
  readonly h: number
  layer: number
  /** Of the middle. */
  x: number
  y: number
  readonly above: Item[]
  readonly below: Item[]
}
const item = (node: number, w: number, h: number): Item => ({
  node,
  w,
  h,
  layer: 0,
  x: 0,
  y: 0,
  above: [],
  below: []
})
/** From one of these to another, for all arrows of that way; `via`: where it passes, from the upper end down. */
interface Edge {
  readonly from: number
  readonly to: number
  via: ReadonlyArray<Item>
  up: boolean
}
interface Group {
  readonly items: ReadonlyMap<number, Item>
  readonly edges: ReadonlyArray<Edge>
  readonly w: number
  readonly h: number
}

export const textWidth = (text: string): number => Math.max(64, text.length * LETTER + 24)

/** Least squares under x[i + 1] - x[i] >= apart[i]: the pool-adjacent-violators algorithm. */
export const spread = (wanted: ReadonlyArray<number>, apart: ReadonlyArray<number>): number[] => {
  const offsets: number[] = []
  let sum = 0
  for (let i = 0; i < wanted.length; i++) {
    offsets.push(sum)
    sum += apart[i] ?? 0
  }
  const pools: { mean: number; n: number }[] = []
  for (const [i, d] of wanted.entries()) {
    let pool = { mean: d - offsets[i]!, n: 1 }
    for (let last = pools.at(-1); last !== undefined && last.mean > pool.mean; last = pools.at(-1)) {
      pools.pop()
      pool = { mean: (last.mean * last.n + pool.mean * pool.n) / (last.n + pool.n), n: last.n + pool.n }
    }
    pools.push(pool)
  }
  return pools.flatMap(({ mean, n }) => Array<number>(n).fill(mean)).map((m, i) => m + offsets[i]!)
}

const mean = (list: ReadonlyArray<number>, none: number): number =>
  list.length === 0 ? none : list.reduce((a, b) => a + b, 0) / list.length

/** Layers of acyclic edges: each state below all that lead to it. Edges that lead back are turned up. */
const layered = (items: ReadonlyMap<number, Item>, edges: ReadonlyArray<Edge>, first: number): void => {
  const out = new Map<number, Edge[]>([...items.keys()].map((n) => [n, []]))
  for (const e of edges) out.get(e.from)!.push(e)
  const state = new Map<number, 'open' | 'done'>()
  const order: number[] = []
  const visit = (n: number): void => {
    state.set(n, 'open')
    for (const e of out.get(n)!)
      if (state.get(e.to) === 'open') e.up = true
      else if (!state.has(e.to)) visit(e.to)
    state.set(n, 'done')
    order.push(n)
  }
  for (const n of [first, ...items.keys()]) if (items.has(n) && !state.has(n)) visit(n)
  const down = edges.map((e) => (e.up ? [e.to, e.from] : [e.from, e.to]) as readonly [number, number])
  for (const n of order.reverse())
    for (const [from, to] of down)
      if (from === n) items.get(to)!.layer = Math.max(items.get(to)!.layer, items.get(n)!.layer + 1)
}

/** Places where long edges pass, and who is whose neighbour. */
const joined = (items: ReadonlyMap<number, Item>, edges: ReadonlyArray<Edge>): Item[][] => {
  const layers: Item[][] = []
  const put = (i: Item): void => {
    while (layers.length <= i.layer) layers.push([])
    layers[i.layer]!.push(i)
  }
  for (const i of items.values()) put(i)
  for (const e of edges) {
    const [a, b] = e.up ? [e.to, e.from] : [e.from, e.to]
    const [upper, lower] = [items.get(a)!, items.get(b)!]
    const via: Item[] = []
    for (let layer = upper.layer + 1; layer < lower.layer; layer++) {
      const place = { ...item(-1, LANE, 0), layer }
      via.push(place)
      put(place)
    }
    e.via = via
    const chain = [upper, ...via, lower]
    for (let k = 1; k < chain.length; k++) {
      chain[k - 1]!.below.push(chain[k]!)
      chain[k]!.above.push(chain[k - 1]!)
    }
  }
  return layers
}

const placed = (layers: ReadonlyArray<Item[]>): { readonly w: number; readonly h: number } => {
  const inOrder = (layer: Item[]): void => {
    let x = 0
    for (const i of layer) {
      i.x = x + i.w / 2
      x += i.w + GAP
    }
  }
  for (const layer of layers) inOrder(layer)
  const sweeps = 8
  for (let s = 0; s < sweeps; s++) {
    const isDown = s % 2 === 0
    for (const layer of isDown ? layers : [...layers].reverse()) {
      const middle = new Map(
        layer.map((i) => [
          i,
          mean(
            (isDown ? i.above : i.below).map((n) => n.x),
            i.x
          )
        ])
      )
      layer.sort((a, b) => middle.get(a)! - middle.get(b)!)
      inOrder(layer)
    }
  }
  for (let s = 0; s < 24; s++) {
    const isDown = s % 2 === 0
    for (const layer of isDown ? layers : [...layers].reverse()) {
      const beside = isDown ? 'above' : 'below'
      const wanted = layer.map((i) =>
        mean(
          [...i[beside].map((n) => n.x), ...(s > 16 ? i[isDown ? 'below' : 'above'].map((n) => n.x) : [])],
          i.x
        )
      )
      const apart = layer.slice(1).map((i, k) => (layer[k]!.w + i.w) / 2 + GAP)
      for (const [k, x] of spread(wanted, apart).entries()) layer[k]!.x = x
    }
  }
  let y = 0
  for (const layer of layers) {
    const h = Math.max(0, ...layer.map((i) => i.h))
    for (const i of layer) i.y = y + h / 2
    y += h + LAYER_GAP
  }
  const all = layers.flat()
  const left = Math.min(0, ...all.map((i) => i.x - i.w / 2))
  const first = Math.min(...all.map((i) => i.x - i.w / 2), Number.POSITIVE_INFINITY)
  const shift = Number.isFinite(first) ? first : left
  for (const i of all) i.x -= shift
  return { w: Math.max(0, ...all.map((i) => i.x + i.w / 2)), h: Math.max(0, y - LAYER_GAP) }
}

/** States around it, the nearest first. */
const around = (chart: Chart, node: number): number[] => {
  const out: number[] = []
  for (let n = chart.nodes[node]!.parent; n >= 0; n = chart.nodes[n]!.parent) out.push(n)
  return out
}

export const layoutOf = (chart: Chart): Layout => {
  const inside = chart.nodes.map((_, n) => chart.nodes.flatMap((c, i) => (c.parent === n ? [i] : [])))
  const groups = new Map<number, Group>()
  const hasAnywhere = chart.arrows.some((a) => a.from === 0)
  /** The box of this group that the state is in, or is. */
  const lifted = (node: number, group: number): number | null => {
    if (node === 0) return group === 0 ? ANYWHERE : null
    const path = [node, ...around(chart, node)]
    const at = path.indexOf(group)
    return at < 1 ? null : path[at - 1]!
  }
  const group = (n: number): Group => {
    const items = new Map<number, Item>()
    for (const c of inside[n]!) {
      const node = chart.nodes[c]!
      const inner = inside[c]!.length === 0 ? null : group(c)
      const w = textWidth(node.key)
      items.set(
        c,
        inner === null
          ? item(c, w, HEIGHT)
          : item(c, Math.max(w, inner.w + 2 * PAD), inner.h + TITLE + 2 * PAD)
      )
    }
    if (n === 0 && hasAnywhere) items.set(ANYWHERE, item(ANYWHERE, textWidth('any state'), HEIGHT))
    const edges = new Map<string, Edge>()
    for (const a of chart.arrows) {
      const from = lifted(a.from, n)
      const to = lifted(a.to, n)
      if (from === null || to === null || from === to || a.to === 0) continue
      edges.set(`${from} ${to}`, edges.get(`${from} ${to}`) ?? { from, to, via: [], up: false })
    }
    const list = [...edges.values()]
    layered(items, list, chart.nodes[n]!.initial)
    const target = list.find((e) => e.from === ANYWHERE && n === 0)?.to
    // What every state can do begins beside what it leads to
    if (target !== undefined)
      items.get(ANYWHERE)!.layer = Math.max(
        0,
        Math.min(...list.filter((e) => e.from === ANYWHERE && n === 0).map((e) => items.get(e.to)!.layer)) - 1
      )
    const made = { items, edges: list, ...placed(joined(items, list)) }
    groups.set(n, made)
    return made
  }
  const whole = group(0)
  const boxes: Box[] = chart.nodes.map(() => ({ x: 0, y: 0, w: 0, h: 0 }))
  let anywhere: Box | null = null
  const origins = new Map<number, Point>()
  const place = (n: number, x: number, y: number): void => {
    origins.set(n, { x, y })
    for (const i of groups.get(n)!.items.values()) {
      const box = { x: x + i.x - i.w / 2, y: y + i.y - i.h / 2, w: i.w, h: i.h }
      if (i.node === ANYWHERE) anywhere = box
      else boxes[i.node] = box
      if (i.node !== ANYWHERE && groups.has(i.node)) {
        const inner = groups.get(i.node)!
        place(i.node, box.x + (i.w - inner.w) / 2, box.y + TITLE + PAD)
      }
    }
  }
  place(0, PAD, PAD)
  const size = { width: whole.w + 2 * PAD, height: whole.h + 2 * PAD }
  boxes[0] = { x: 0, y: 0, w: size.width, h: size.height }
  const routes = chart.arrows.flatMap((arrow): Route[] => {
    if (arrow.from === arrow.to || arrow.to === 0) return []
    const group = [arrow.to, ...around(chart, arrow.to)].find(
      (g) =>
        lifted(arrow.from, g) !== null &&
        lifted(arrow.to, g) !== null &&
        lifted(arrow.from, g) !== lifted(arrow.to, g)
    )
    const edge =
      group === undefined
        ? undefined
        : groups
            .get(group)
            ?.edges.find((e) => e.from === lifted(arrow.from, group) && e.to === lifted(arrow.to, group))
    const from = arrow.from === 0 ? anywhere : boxes[arrow.from]
    const to = boxes[arrow.to]
    if (edge === undefined || group === undefined || !from || !to) return []
    const o = origins.get(group)!
    const via = edge.via.map((i) => ({ x: o.x + i.x, y: o.y + i.y }))
    return [{ arrow, points: [end(from, !edge.up), ...(edge.up ? via.reverse() : via), end(to, edge.up)] }]
  })
  return { ...size, boxes, anywhere, routes: fanned(routes) }
}
const end = (b: Box, isBottom: boolean): Point => ({ x: b.x + b.w / 2, y: isBottom ? b.y + b.h : b.y })

/** Arrows that meet at one side of a box begin and end beside each other, in the order of where they go. */
const fanned = (routes: ReadonlyArray<Route>): ReadonlyArray<Route> => {
  const APART = 9
  const moved = routes.map((r) => r.points.slice())
  const sides = new Map<string, { readonly route: number; readonly at: number; readonly toward: number }[]>()
  for (const [route, { points }] of routes.entries())
    for (const at of [0, points.length - 1]) {
      const p = points[at]!
      const key = `${p.x} ${p.y}`
      const toward = points[at === 0 ? 1 : at - 1]!.x
      sides.set(key, [...(sides.get(key) ?? []), { route, at, toward }])
    }
  for (const list of sides.values()) {
    list.sort((a, b) => a.toward - b.toward)
    const apart = Math.min(APART, 48 / list.length)
    for (const [i, { route, at }] of list.entries()) {
      const p = moved[route]![at]!
      moved[route]![at] = { x: p.x + (i - (list.length - 1) / 2) * apart, y: p.y }
    }
  }
  return routes.map((r, i) => ({ arrow: r.arrow, points: moved[i]! }))
}

const at = (n: number): string => n.toFixed(1)
/** For `d` of an SVG path: it leaves and arrives straight down, or up. */
export const pathOf = (points: ReadonlyArray<Point>): string => {
  const [first, ...rest] = points
  if (first === undefined) return ''
  let from = first
  let d = `M${at(from.x)} ${at(from.y)}`
  for (const to of rest) {
    const middle = (to.y - from.y) / 2
    d += `C${at(from.x)} ${at(from.y + middle)} ${at(to.x)} ${at(to.y - middle)} ${at(to.x)} ${at(to.y)}`
    from = to
  }
  return d
}
