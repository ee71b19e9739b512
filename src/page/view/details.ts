import { type ChartRow, FROM_GUEST, FROM_HOST, type PageData, STEP, textOf } from '../data.js'
import {
  changedBy,
  chartOf,
  clauseParts,
  KIND_NAMES,
  msOf,
  stateName,
  stepAt,
  stepOf,
  stepText,
  takenBy,
  valuesAt,
  valueText
} from '../model.js'
import { el } from './dom.js'

// One row: what it was, by which clause, what the machine asked for, and what it knows.

export interface DetailsView {
  readonly element: HTMLElement
  readonly show: (subject: number, row: number) => void
}

const clause = (text: string): HTMLElement =>
  el(
    'span',
    { class: 'clause', id: 'clause' },
    ...clauseParts(text).map(({ text: part, href }) =>
      href === null ? part : el('a', { href, rel: 'noreferrer noopener', target: '_blank' }, part)
    )
  )

export const detailsView = (d: PageData): DetailsView => {
  const head = el('div', { class: 'head', tabindex: 0 })
  const numbers = el('div', {
    class: 'numbers',
    role: 'table',
    'aria-label': 'What the machine knows',
    tabindex: 0
  })
  const element = el('section', { class: 'details', 'aria-label': 'Details' }, head, numbers)
  const transition = (subject: number, t: ChartRow): ReadonlyArray<HTMLElement> => {
    const nodes = chartOf(d, subject)?.nodes ?? []
    const named = (n: number): string => (n <= 0 ? 'any state' : stateName(nodes[n]!.key))
    return [
      el('dt', {}, 'rule'),
      el(
        'dd',
        {},
        el('b', {}, named(t.state)),
        ` on ${t.event === '*' ? 'any other event' : t.event}`,
        ...(t.guard === '' ? [] : [' if ', el('code', {}, t.guard)]),
        ...(t.target < 0 ? [] : [' → ', el('b', {}, named(t.target))])
      ),
      el('dt', {}, 'clause'),
      el(
        'dd',
        {},
        clause(t.clause),
        ...(t.regressions.length === 0 ? [] : [`; regression ${t.regressions.join(', ')}`])
      ),
      ...(t.actions.length === 0
        ? []
        : [el('dt', {}, 'actions'), el('dd', {}, ...t.actions.flatMap((a) => [el('code', {}, a), ' ']))])
    ]
  }
  return {
    element,
    show: (subject, row) => {
      const kind = d.columns.kind[row]!
      const isStep = kind === STEP
      const step = stepOf(d, subject, row)
      const { event, effects } = step < 0 ? { event: '', effects: [] } : stepText(d, step)
      const taken = step < 0 ? null : takenBy(d, subject, step)
      const isFirst = isStep && event === 'begins'
      const related = kind === FROM_GUEST || kind === FROM_HOST ? 'led to' : 'due to'
      head.replaceChildren(
        el(
          'p',
          { class: 'what' },
          el('b', {}, isStep ? event : (KIND_NAMES[kind] ?? '')),
          el('small', {}, ` ${msOf(d, row).toFixed(3)} ms, turn ${d.columns.turn[row]! + 1}`)
        ),
        ...(isStep ? [] : [el('p', { class: 'text', id: 'text' }, textOf(d, row))]),
        el(
          'dl',
          {},
          ...(isStep || step < 0 ? [] : [el('dt', {}, related), el('dd', {}, el('b', {}, event))]),
          ...(taken !== null
            ? transition(subject, taken)
            : step >= 0
              ? [
                  el('dt', {}, 'rule'),
                  el('dd', {}, event === 'begins' ? 'its first state' : 'no state takes it: nothing happens')
                ]
              : []),
          ...(step >= 0
            ? [
                el('dt', {}, 'effects'),
                el(
                  'dd',
                  { id: 'effects' },
                  ...(effects.length === 0
                    ? ['none']
                    : effects.map((text) => {
                        const at = `${text} `.indexOf(' ')
                        return el('div', { class: 'effect' }, el('b', {}, text.slice(0, at)), text.slice(at))
                      }))
                )
              ]
            : [])
        )
      )
      const fields = stepAt(d, subject, row) < 0 ? [] : (chartOf(d, subject)?.fields ?? [])
      const values = valuesAt(d, subject, row)
      const before = isStep ? valuesAt(d, subject, row - 1) : values
      const changed = changedBy(d, row)
      const ms = msOf(d, row)
      const line = (name: string, value: string, className: string): HTMLElement =>
        el(
          'div',
          { role: 'row', class: className },
          el('span', { role: 'rowheader' }, name),
          el('span', { role: 'cell' }, value)
        )
      const said = (i: number, of: ArrayLike<number>): string => valueText(d, fields[i]!, of[i]!, ms)
      numbers.replaceChildren(
        ...(isFirst
          ? []
          : [...changed].map((i) =>
              line(fields[i]!.name, `${said(i, before)} → ${said(i, values)}`, 'changed')
            )),
        ...fields.map((f, i) => line(f.name, said(i, values), changed.has(i) && !isFirst ? 'new' : ''))
      )
      if (fields.length === 0) numbers.append(el('p', { class: 'none' }, 'no machine yet'))
    }
  }
}
