import { type Count, isDrop, type Live, shortText } from '../live-model.js'
import { el } from './dom.js'

// What was dropped and why, and what else was counted.

export interface LiveCounts {
  readonly element: HTMLElement
  readonly show: (m: Live) => void
}
const line = ({ name, total, rate }: Count): HTMLElement =>
  el(
    'div',
    { role: 'row', class: `${isDrop(name) ? 'drop' : 'event'}${(rate ?? 0) > 0 ? ' busy' : ''}` },
    el('span', { role: 'rowheader', title: name }, isDrop(name) ? name.slice('drop-'.length) : name),
    el('span', { role: 'cell' }, rate === null || rate === 0 ? '' : `${shortText(rate)}/s`),
    el('span', { role: 'cell' }, total.toLocaleString('en'))
  )

export const liveCounts = (): LiveCounts => {
  const list = el('div', { class: 'counts-list', role: 'table', 'aria-label': 'Counters', tabindex: 0 })
  return {
    element: el('section', { class: 'counts', 'aria-label': 'Drops and events' }, list),
    show: ({ counts }) => {
      const drops = counts.filter((c) => isDrop(c.name))
      const others = counts.filter((c) => !isDrop(c.name))
      list.replaceChildren(
        el('h3', {}, 'Drops, by reason'),
        ...(drops.length === 0 ? [el('p', { class: 'none' }, 'Nothing was dropped.')] : drops.map(line)),
        ...(others.length === 0 ? [] : [el('h3', {}, 'Other events'), ...others.map(line)])
      )
    }
  }
}
