import { healthOf, type Rule, ruleText } from '../live-model.js'
import { el } from './dom.js'

// Forwarding rules, and whether what they lead to answers.

export interface LiveRules {
  readonly element: HTMLElement
  readonly show: (rules: ReadonlyArray<Rule>) => void
}
/** Rules that are shown: a range of ports is one. */
const SHOWN = 200

/** `find`: flows of the rule of that identifier are wanted. */
export const liveRules = (find: (id: string) => void): LiveRules => {
  const list = el('div', { class: 'counts-list', role: 'table', 'aria-label': 'Rules', tabindex: 0 })
  const line = (r: Rule): HTMLElement => {
    const text = ruleText(r)
    const name = el(
      'button',
      { type: 'button', title: text, 'aria-label': `Flows of ${r.id}` },
      r.text.replace(/ {2,}/g, ' ')
    )
    name.addEventListener('click', () => find(r.id))
    return el(
      'div',
      { role: 'row', class: `rule ${healthOf(r)}` },
      el('span', { role: 'rowheader' }, name),
      el('span', { role: 'cell', title: text }, healthOf(r)),
      el('span', { role: 'cell', title: text }, `${r.open} of ${r.begun}`)
    )
  }
  return {
    element: el('section', { class: 'counts', 'aria-label': 'Forwarding rules' }, list),
    show: (rules) => {
      const more = rules.length - SHOWN
      list.replaceChildren(
        el('h3', {}, 'Rules, their targets, flows'),
        ...(rules.length === 0
          ? [el('p', { class: 'none' }, 'No port is forwarded.')]
          : rules.slice(0, SHOWN).map(line)),
        ...(more > 0 ? [el('p', { class: 'none' }, `and ${more} more`)] : [])
      )
    }
  }
}
