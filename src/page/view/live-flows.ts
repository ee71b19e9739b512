import {
  ageText,
  COLUMNS,
  type ColumnName,
  endText,
  type Live,
  msText,
  type Order,
  type Row,
  rowsOf,
  rttOf,
  shortText
} from '../live-model.js'
import { el, virtualList } from './dom.js'

// The table of flows that there are, and of those that have ended: filtered, sorted, and one of them is looked at.

const HEIGHT = 26
const NAMES: Readonly<Record<ColumnName, string>> = {
  kind: 'Kind',
  guest: 'Guest',
  peer: 'Peer',
  state: 'State',
  octetsToGuest: 'To guest',
  octetsToPeer: 'To peer',
  toGuest: 'To guest/s',
  toPeer: 'To peer/s',
  rtt: 'RTT ms',
  age: 'Age',
  rule: 'Rule'
}
/** What begins with the most. */
const FALLING: ReadonlySet<ColumnName> = new Set([
  'octetsToGuest',
  'octetsToPeer',
  'toGuest',
  'toPeer',
  'rtt'
])

export interface LiveFlows {
  readonly element: HTMLElement
  readonly show: (m: Live, chosen: string | null) => void
  /** The one behind it, or in front of it, as they are sorted; null: there is none at all. */
  readonly beside: (key: string | null, by: number) => string | null
  /** null: the user is to say what. */
  readonly find: (words: string | null) => void
}

export const liveFlows = (choose: (key: string) => void): LiveFlows => {
  let live: Live | null = null
  let order: Order = { by: 'age', falling: false }
  let shown: ReadonlyArray<Row> = []
  let current: string | null = null
  const row = (i: number): HTMLElement => {
    const r = shown[i]!
    const f = r.flow
    const isCurrent = r.key === current
    const cell = (name: string, text: string, title?: string): HTMLElement =>
      el('span', { role: 'gridcell', class: name, ...(title === undefined ? {} : { title }) }, text)
    const number = (n: number | null, text: (n: number) => string): HTMLElement =>
      cell(n === null || n === 0 ? 'number zero' : 'number', n === null ? '–' : text(n))
    const [guest, peer] = [endText(f.guest), endText(f.peer)]
    return el(
      'div',
      {
        class: `row${isCurrent ? ' current' : ''}${r.ended ? ' ended' : ''}`,
        role: 'row',
        id: `row-${i}`,
        'data-key': r.key,
        'aria-selected': String(isCurrent),
        'aria-rowindex': i + 1
      },
      cell('kind', f.kind),
      cell('end', guest, guest),
      cell('way', f.origin === 'guest' ? '→' : '←', `begun by the ${f.origin}`),
      cell('end', peer, peer),
      cell('state', r.ended ? `${f.state}, over` : f.state),
      number(f.octetsToGuest, shortText),
      number(f.octetsToPeer, shortText),
      number(r.toGuest, shortText),
      number(r.toPeer, shortText),
      number(rttOf(f), msText),
      number(f.ageMs, ageText),
      cell('rule', f.rule ?? '', f.rule ?? '')
    )
  }
  const list = virtualList({ role: 'grid', 'aria-label': 'Flows', id: 'flows' }, HEIGHT, row)
  const keyAt = (e: Event): string | undefined =>
    e.target instanceof Element ? e.target.closest<HTMLElement>('.row')?.dataset.key : undefined
  // Rows are made anew each second, so where it was pressed may not be there any more when it is let go
  let pressed: string | undefined
  list.element.addEventListener('pointerdown', (e) => {
    pressed = keyAt(e)
  })
  list.element.addEventListener('pointerup', () => {
    if (pressed !== undefined) choose(pressed)
  })
  list.element.addEventListener('click', (e) => {
    const key = keyAt(e)
    if (key !== undefined && key !== pressed) choose(key)
    pressed = undefined
  })
  const filter = el('input', {
    type: 'search',
    placeholder: 'filter: tcp 443 established …',
    'aria-label': 'Filter flows',
    id: 'filter'
  })
  const withEnded = el('input', { type: 'checkbox', id: 'with-ended', checked: true })
  const count = el('span', { class: 'count' })
  const heads = COLUMNS.map((by) => {
    const b = el('button', { type: 'button', 'data-sort': by })
    b.addEventListener('click', () => {
      order = { by, falling: order.by === by ? !order.falling : FALLING.has(by) }
      apply()
    })
    return b
  })
  const apply = (): void => {
    if (live === null) return
    shown = rowsOf(live, filter.value, order, withEnded.checked)
    const open = shown.filter((r) => !r.ended).length
    count.textContent = `${open} of ${live.rows.size} flows`
    for (const b of heads) {
      const by = b.dataset.sort as ColumnName
      const isBy = by === order.by
      b.textContent = `${NAMES[by]}${isBy ? (order.falling ? ' ↓' : ' ↑') : ''}`
      b.setAttribute('aria-pressed', String(isBy))
      b.setAttribute(
        'aria-label',
        `Sort by ${NAMES[by]}${isBy ? (order.falling ? ', falling' : ', rising') : ''}`
      )
    }
    list.reset(shown.length)
    mark()
  }
  const mark = (): void => {
    const at = shown.findIndex((r) => r.key === current)
    list.element.setAttribute('aria-rowcount', String(shown.length))
    if (at < 0) list.element.removeAttribute('aria-activedescendant')
    else list.element.setAttribute('aria-activedescendant', `row-${at}`)
  }
  filter.addEventListener('input', apply)
  filter.addEventListener('keydown', (e) => {
    if (e.key !== 'Escape') return
    filter.value = ''
    apply()
    list.element.focus()
  })
  withEnded.addEventListener('change', apply)
  const element = el(
    'section',
    { class: 'flows', 'aria-label': 'Flows' },
    el('div', { class: 'bar' }, filter, count, el('label', {}, withEnded, ' those that ended')),
    el(
      'div',
      { class: 'columns', role: 'group', 'aria-label': 'Order' },
      ...heads.flatMap((b) => (b.dataset.sort === 'peer' ? [el('span'), b] : [b]))
    ),
    list.element
  )
  return {
    element,
    show: (m, chosen) => {
      live = m
      const moved = chosen !== current
      current = chosen
      apply()
      const at = moved ? shown.findIndex((r) => r.key === current) : -1
      if (at < 0) return
      list.reveal(at)
      list.refresh()
    },
    beside: (key, by) => {
      const at = shown.findIndex((r) => r.key === key)
      const next = shown[Math.min(Math.max(0, at < 0 ? 0 : at + by), shown.length - 1)]
      return next?.key ?? null
    },
    find: (words) => {
      if (words === null) return filter.focus()
      filter.value = words
      apply()
    }
  }
}
