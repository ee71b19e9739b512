import type { PageData } from '../data.js'
import { type FlowEntry, flowEntries, flowsShown, SORTS, type SortKey } from '../model.js'
import { el, virtualList } from './dom.js'

// The table of flows: it is filtered, sorted, and one of them is shown.

const HEIGHT = 46
const NAMES: Readonly<Record<SortKey, string>> = {
  began: 'time',
  title: 'name',
  state: 'state',
  rows: 'rows',
  took: 'took'
}

export interface FlowsView {
  readonly element: HTMLElement
  readonly show: (subject: number) => void
  /** The one behind it, or in front of it, as they are sorted. */
  readonly beside: (subject: number, by: number) => number
  readonly find: () => void
}
export const flowsView = (d: PageData, chosen: (subject: number) => void): FlowsView => {
  const all = flowEntries(d)
  let by: SortKey = 'began'
  let falling = false
  let shown: ReadonlyArray<FlowEntry> = all
  let current = -1
  const row = (i: number): HTMLElement => {
    const f = shown[i]!
    const e = el(
      'div',
      {
        class: `flow${f.subject === current ? ' current' : ''}`,
        role: 'option',
        id: `flow-${f.subject}`,
        'aria-selected': String(f.subject === current),
        'aria-setsize': shown.length,
        'aria-posinset': i + 1,
        title: f.ends
      },
      el('div', { class: 'first' }, el('b', {}, f.title), el('span', { class: 'state' }, f.state)),
      el(
        'div',
        { class: 'second' },
        el('span', { class: 'ends' }, f.ends),
        el('span', { class: 'count' }, `${f.rows} rows`)
      )
    )
    e.addEventListener('click', () => chosen(f.subject))
    return e
  }
  const list = virtualList({ role: 'listbox', 'aria-label': 'Flows', id: 'flows' }, HEIGHT, row)
  const filter = el('input', {
    type: 'search',
    placeholder: 'filter: tcp 443 closed …',
    'aria-label': 'Filter flows',
    id: 'filter'
  })
  const count = el('span', { class: 'count', 'aria-live': 'polite' })
  const buttons = SORTS.map((key) => {
    const b = el('button', { type: 'button', 'data-sort': key })
    b.addEventListener('click', () => {
      falling = by === key ? !falling : false
      by = key
      apply()
    })
    return b
  })
  const apply = (): void => {
    shown = flowsShown(all, filter.value, by, falling)
    count.textContent = `${shown.length} of ${all.length}`
    for (const b of buttons) {
      const key = b.dataset.sort as SortKey
      const isBy = key === by
      b.textContent = `${NAMES[key]}${isBy ? (falling ? ' ↓' : ' ↑') : ''}`
      b.setAttribute('aria-pressed', String(isBy))
      b.setAttribute('aria-label', `Sort by ${NAMES[key]}${isBy ? (falling ? ', falling' : ', rising') : ''}`)
    }
    list.reset(shown.length)
  }
  filter.addEventListener('input', apply)
  const element = el(
    'section',
    { class: 'flows', 'aria-label': 'Flows' },
    el('div', { class: 'bar' }, filter, count),
    el('div', { class: 'bar sorts', role: 'group', 'aria-label': 'Order' }, ...buttons),
    list.element
  )
  return {
    element,
    show: (subject) => {
      if (current === -1) apply()
      current = subject
      const place = shown.findIndex((f) => f.subject === subject)
      if (place >= 0) list.reveal(place)
      list.refresh()
      list.element.setAttribute('aria-activedescendant', `flow-${subject}`)
    },
    beside: (subject, by) => {
      const place = shown.findIndex((f) => f.subject === subject)
      const next = shown[Math.min(Math.max(0, place + by), shown.length - 1)]
      return next?.subject ?? subject
    },
    find: () => filter.focus()
  }
}
