import { COUNT, FROM_GUEST, FROM_HOST, LOG, type PageData, STEP, TO_GUEST, TO_HOST, textOf } from '../data.js'
import {
  changesState,
  chartOf,
  KIND_NAMES,
  labelOf,
  msOf,
  type Starts,
  stateName,
  stepText
} from '../model.js'
import { el, virtualList } from './dom.js'

// A flow in time: the guest's side on the left, sockets on the right, in between what the machine does.

const HEIGHT = 27
const CLASSES: Readonly<Record<number, string>> = {
  [FROM_GUEST]: 'guest in',
  [TO_GUEST]: 'guest out',
  [FROM_HOST]: 'host in',
  [TO_HOST]: 'host out',
  [STEP]: 'step',
  [COUNT]: 'told count-row',
  [LOG]: 'told'
}

export interface LadderView {
  readonly element: HTMLElement
  readonly show: (subject: number, rows: Int32Array, starts: Starts | null) => void
  readonly go: (place: number) => void
}
export const ladderView = (d: PageData, chosen: (place: number) => void): LadderView => {
  let subject = 0
  let rows = new Int32Array()
  let starts: Starts | null = null
  let current = -1
  const ofStep = (r: number): ReadonlyArray<HTMLElement> => {
    const { event, effects } = stepText(d, r)
    const key = chartOf(d, subject)?.nodes[d.columns.state[r]!]?.key
    const changes = key !== undefined && changesState(d, subject, r)
    return [
      el(
        'span',
        { class: `pill${changes ? ' change' : ''}` },
        event,
        ...(changes ? [el('b', {}, ` → ${stateName(key)}`)] : []),
        ...(effects.length > 0 ? [el('small', {}, effects.map((e) => e.split(' ', 1)[0]).join(', '))] : [])
      )
    ]
  }
  const row = (place: number): HTMLElement => {
    const r = rows[place]!
    const kind = d.columns.kind[r]!
    const turn = d.columns.turn[r]!
    const isFirst = place === 0 || d.columns.turn[rows[place - 1]!] !== turn
    const isFlow = d.facts.subjects[subject]!.chart >= 0
    const inside =
      kind === STEP
        ? ofStep(r)
        : kind === COUNT || kind === LOG
          ? [el('span', { class: 'pill' }, textOf(d, r))]
          : [
              el('span', { class: 'label' }, labelOf(textOf(d, r), kind, isFlow, starts)),
              el('span', { class: 'arrow' })
            ]
    const e = el(
      'div',
      {
        class: `rung ${CLASSES[kind] ?? ''}${isFirst ? ' first' : ''}${place === current ? ' current' : ''}`,
        role: 'option',
        id: `row-${place}`,
        'aria-selected': String(place === current),
        'aria-setsize': rows.length,
        'aria-posinset': place + 1
      },
      el('span', { class: 'time', title: `turn ${turn + 1}` }, isFirst ? msOf(d, r).toFixed(3) : ''),
      el('span', { class: 'unseen' }, `${KIND_NAMES[kind] ?? ''}: `),
      el('div', { class: 'lanes' }, ...inside)
    )
    e.addEventListener('click', () => chosen(place))
    return e
  }
  const list = virtualList({ role: 'listbox', 'aria-label': 'What happened', id: 'ladder' }, HEIGHT, row)
  const machine = el('span', {})
  const element = el(
    'section',
    { class: 'ladder', 'aria-label': 'Ladder' },
    el(
      'div',
      { class: 'lane-heads', 'aria-hidden': 'true' },
      el('span', { class: 'time' }, 'ms'),
      el('div', {}, el('span', {}, 'guest'), machine, el('span', {}, 'host sockets'))
    ),
    list.element
  )
  return {
    element,
    show: (which, list_, from) => {
      subject = which
      rows = list_ as Int32Array<ArrayBuffer>
      starts = from
      machine.textContent = chartOf(d, subject)?.id ?? 'passt'
      list.reset(rows.length)
    },
    go: (place) => {
      current = place
      list.reveal(place)
      list.refresh()
      list.element.setAttribute('aria-activedescendant', `row-${place}`)
    }
  }
}
