import { ageText, type Family, type Status } from '../live-model.js'
import { el } from './dom.js'

// What runs, with what addresses, and whether it still does.

export interface LiveHead {
  readonly element: HTMLElement
  readonly show: (s: Status) => void
  /** 'live': it is as it says. 'waits': an answer is late. 'over': this was the last. */
  readonly says: (how: 'live' | 'waits' | 'over', text: string) => void
}
const family = (name: string, f: Family | null): string =>
  f === null
    ? `${name} off`
    : `${name} ${f.address === null ? 'no address' : `${f.address}/${f.prefixLength}`} by ${f.gateway ?? 'no gateway'} on ${f.interface ?? 'no interface'}, DNS ${f.dns.join(' ') || 'none'}`

const notCopied = ({ leftOut, leftOutInAll }: NonNullable<Status['namespace']>): string =>
  leftOutInAll === 0
    ? 'nothing of what was to be'
    : [
        ...leftOut,
        ...(leftOutInAll > leftOut.length ? [`and ${leftOutInAll - leftOut.length} more`] : [])
      ].join('\n')

export const liveHead = (): LiveHead => {
  const name = el('h1', {}, 'passt-ctl')
  const facts = el('span', { class: 'facts' })
  const more = el('dl', {})
  const details = el('details', { class: 'status' }, el('summary', {}, facts), more)
  const state = el('output', { id: 'live', class: 'waits', 'aria-live': 'polite' }, 'asks …')
  const pair = (k: string, v: string): ReadonlyArray<HTMLElement> => [el('dt', {}, k), el('dd', {}, v)]
  return {
    element: el(
      'header',
      {},
      name,
      details,
      el(
        'span',
        { class: 'keys' },
        el('kbd', {}, '↑'),
        el('kbd', {}, '↓'),
        ' flow ',
        el('kbd', {}, '/'),
        ' filter'
      ),
      state
    ),
    show: (s) => {
      name.textContent = s.mode
      document.title = `${s.mode} ${s.pid}`
      const guest = [s.guest.ipv4, s.guest.ipv6].filter((a) => a !== null).join(' ')
      facts.replaceChildren(
        ...[
          s.version,
          `PID ${s.pid}`,
          `up ${ageText(s.uptimeMs)}`,
          s.mode === 'pasta' ? `${s.link} ${s.interface}` : s.link,
          s.guest.up ? `guest ${guest || 'has no address yet'}` : 'no guest'
        ].map((text) => el('span', { class: 'fact' }, text))
      )
      more.replaceChildren(
        ...pair('addresses', `${family('IPv4', s.ipv4)}; ${family('IPv6', s.ipv6)}`),
        ...pair('link', `MTU ${s.mtu === 0 ? 'not assigned' : s.mtu}, MAC of the guest ${s.guest.mac}`),
        ...(s.namespace === null
          ? []
          : [
              ...pair('namespace', `${s.namespace.addresses.join(' ')}, ${s.namespace.routesInAll} routes`),
              ...pair('not copied', notCopied(s.namespace))
            ]),
        ...pair('search', s.search.join(' ') || 'none'),
        ...pair('serves', s.serves.join(' ')),
        ...pair('notes', s.notes.join('\n') || 'none')
      )
    },
    says: (how, text) => {
      if (state.className === how && state.textContent === text) return
      state.className = how
      state.textContent = text
    }
  }
}
