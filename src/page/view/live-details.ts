import { ageText, endText, msText, type Row, shortText } from '../live-model.js'
import { el } from './dom.js'

// The numbers of one flow, as the API has them.

export interface LiveDetails {
  readonly element: HTMLElement
  readonly show: (r: Row | null) => void
}
const orDash = (n: number | null, text: (n: number) => string): string => (n === null ? '–' : text(n))
const octets = (n: number): string => `${n.toLocaleString('en')} octets`
const moved = (n: number | null, rate: number | null): string =>
  n === null ? 'not counted' : `${octets(n)}${rate === null ? '' : `, ${shortText(rate)}/s`}`
const ms = (n: number): string => `${msText(n)} ms`

const linesOf = ({ flow: f, ...r }: Row): ReadonlyArray<readonly [string, string]> => [
  [
    'begun',
    `by the ${f.origin}${f.ageMs === null ? '' : `, ${ageText(f.ageMs)} ${r.ended ? 'before it ended' : 'ago'}`}`
  ],
  ['by rule', f.rule ?? 'none'],
  ['guest', endText(f.guest)],
  ["guest's peer", endText(f.guestPeer)],
  ['peer', endText(f.peer)],
  ['to the guest', moved(f.octetsToGuest, r.toGuest)],
  ['to the peer', moved(f.octetsToPeer, r.toPeer)],
  ['round trip to the guest', orDash(f.rttGuestMs, ms)],
  ['round trip to the peer', orDash(f.rttPeerMs, ms)],
  ['window of the guest', orDash(f.windowGuest, octets)],
  ['window offered to it', orDash(f.windowOffered, octets)]
]

export const liveDetails = (): LiveDetails => {
  const numbers = el('div', {
    class: 'numbers',
    role: 'table',
    'aria-label': 'Numbers of the flow',
    tabindex: 0
  })
  return {
    element: el('section', { class: 'details', 'aria-label': 'Flow' }, numbers),
    show: (r) =>
      numbers.replaceChildren(
        ...(r === null
          ? [el('p', { class: 'none' }, 'No flow is chosen.')]
          : linesOf(r).map(([name, value]) =>
              el(
                'div',
                { role: 'row' },
                el('span', { role: 'rowheader' }, name),
                el('span', { role: 'cell' }, value)
              )
            ))
      )
  }
}
