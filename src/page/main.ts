import { decodePage, type PageData } from './data.js'
import {
  chartOf,
  firstFlow,
  msOf,
  nextChange,
  parsePlace,
  placeOf,
  placeText,
  rangeOf,
  rowsShown,
  startsOf,
  stateAt,
  stepAt,
  takenBy
} from './model.js'
import { chartView } from './view/chart.js'
import { detailsView } from './view/details.js'
import { el, givenOctets } from './view/dom.js'
import { flowsView } from './view/flows.js'
import { ladderView } from './view/ladder.js'
import { plotsView } from './view/plots.js'

// The page of passt-replay --html, in the browser: a flow, and a moment in it, which is a row. What is shown at a moment is model.ts; here is who
// is told of it.

const dataOf = async (): Promise<PageData> => {
  const whole = new Blob([givenOctets()]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return decodePage(new Uint8Array(await new Response(whole).arrayBuffer()))
}

/** Rows of a leap. */
const LEAP = 20
/** ms between two rows when it plays. */
const PACE = 350

const button = (text: string, name: string, pressed: () => void): HTMLButtonElement => {
  const b = el('button', { type: 'button', 'aria-label': name, title: name }, text)
  b.addEventListener('click', pressed)
  return b
}

const show = (d: PageData): void => {
  let subject = -1
  let rows: Int32Array = new Int32Array()
  let place = 0
  let playing: ReturnType<typeof setInterval> | undefined

  const idle = el('input', { type: 'checkbox', id: 'idle' })
  const counted = el('input', { type: 'checkbox', id: 'relative', checked: true })
  const slider = el('input', { type: 'range', min: 0, value: 0, id: 'slider', 'aria-label': 'Moment' })
  const where = el('output', { id: 'where', 'aria-live': 'polite' })
  const play = button('play', 'Play', () => (playing === undefined ? begin() : stop()))

  const flows = flowsView(d, (s) => open(s, null))
  const ladder = ladderView(d, (p) => go(p))
  const chart = chartView()
  const details = detailsView(d)
  const plots = plotsView(d, (row) => go(placeOf(rows, row)))

  const stop = (): void => {
    clearInterval(playing)
    playing = undefined
    play.textContent = 'play'
  }
  const begin = (): void => {
    play.textContent = 'stop'
    playing = setInterval(() => (place < rows.length - 1 ? go(place + 1) : stop()), PACE)
  }
  let remembered: ReturnType<typeof setTimeout> | undefined
  const remember = (row: number): void => {
    clearTimeout(remembered)
    remembered = setTimeout(() => {
      history.replaceState(null, '', placeText(subject, row - rangeOf(d, subject)[0]))
    }, 300)
  }
  const go = (to: number): void => {
    place = Math.min(Math.max(0, to), rows.length - 1)
    const row = rows[place]
    if (row === undefined) {
      chart.show(chartOf(d, subject), -1, -1, null, new Set())
      where.textContent = 'nothing happened'
      return
    }
    slider.value = String(place)
    const step = stepAt(d, subject, row)
    const state = stateAt(d, subject, row)
    const taken = step === row ? takenBy(d, subject, row) : null
    const [from] = rangeOf(d, subject)
    const seen = new Set<number>()
    for (let r = from; r <= row; r++) if (d.columns.state[r]! >= 0) seen.add(d.columns.state[r]!)
    chart.show(
      chartOf(d, subject),
      state,
      step === row ? stateAt(d, subject, row - 1) : state,
      taken === null || taken.target < 0 ? null : { from: taken.state, to: taken.target },
      seen
    )
    ladder.go(place)
    details.show(subject, row)
    plots.go(row)
    const text = `${place + 1} of ${rows.length}, ${msOf(d, row).toFixed(3)} ms`
    where.textContent = text
    slider.setAttribute('aria-valuetext', text)
    remember(row)
  }
  /** `row` null: where it begins. */
  const open = (which: number, row: number | null): void => {
    stop()
    subject = which
    rows = rowsShown(d, subject, idle.checked)
    slider.max = String(Math.max(0, rows.length - 1))
    flows.show(subject)
    ladder.show(subject, rows, counted.checked ? startsOf(d, subject) : null)
    plots.show(subject)
    go(row === null ? 0 : placeOf(rows, row))
  }
  const again = (): void => open(subject, rows[place] ?? null)
  idle.addEventListener('change', again)
  counted.addEventListener('change', again)
  slider.addEventListener('input', () => go(Number(slider.value)))
  const change = (by: 1 | -1): void => go(nextChange(d, subject, rows, place, by))

  const { heading, difference } = d.facts
  document.body.append(
    el(
      'header',
      {},
      el('h1', {}, 'passt-replay'),
      ...heading.map((line) => el('span', { class: 'fact' }, line)),
      el(
        'span',
        { class: 'keys' },
        ...['←', '→'].map((k) => el('kbd', {}, k)),
        ' row ',
        el('kbd', {}, '⇧'),
        el('kbd', {}, '→'),
        ' change of state ',
        el('kbd', {}, '/'),
        ' filter'
      )
    ),
    ...(difference.length === 0
      ? []
      : [
          el(
            'details',
            { class: 'difference', open: true },
            el('summary', {}, difference[0]!),
            el('pre', {}, difference.slice(1).join('\n'))
          )
        ]),
    el(
      'main',
      {},
      flows.element,
      ladder.element,
      chart.element,
      el(
        'div',
        { class: 'time-bar', role: 'group', 'aria-label': 'Time' },
        button('◀◀', 'Previous change of state', () => change(-1)),
        button('◀', 'Previous row', () => go(place - 1)),
        play,
        button('▶', 'Next row', () => go(place + 1)),
        button('▶▶', 'Next change of state', () => change(1)),
        slider,
        where,
        el('label', {}, idle, ' idle steps'),
        el('label', {}, counted, ' relative numbers'),
        el('label', {}, plots.byTime, ' plots by time')
      ),
      el('div', { class: 'bottom' }, details.element, plots.element)
    )
  )

  const keys: Readonly<Record<string, (shift: boolean) => void>> = {
    ArrowRight: (shift) => (shift ? change(1) : go(place + 1)),
    ArrowLeft: (shift) => (shift ? change(-1) : go(place - 1)),
    ArrowDown: () => go(place + 1),
    ArrowUp: () => go(place - 1),
    PageDown: () => go(place + LEAP),
    PageUp: () => go(place - LEAP),
    Home: () => go(0),
    End: () => go(rows.length - 1),
    '/': () => flows.find()
  }
  document.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return
    const at = e.target instanceof HTMLElement ? e.target : document.body
    const writes = at instanceof HTMLInputElement && at.type === 'search'
    const inFlows = at.id === 'flows' && ['ArrowDown', 'ArrowUp', 'PageDown', 'PageUp'].includes(e.key)
    const key = keys[e.key]
    if (writes || key === undefined) return
    e.preventDefault()
    if (inFlows) {
      const by = { ArrowDown: 1, ArrowUp: -1, PageDown: LEAP, PageUp: -LEAP }[e.key] ?? 0
      open(flows.beside(subject, by), null)
    } else key(e.shiftKey)
  })
  const jump = (): void => {
    const p = parsePlace(location.hash)
    const which = Math.min(p.subject ?? firstFlow(d), d.facts.subjects.length - 1)
    open(which, rangeOf(d, which)[0] + p.offset)
  }
  addEventListener('hashchange', jump)
  jump()
  document.body.dataset.ready = performance.now().toFixed(0)
}

dataOf().then(show, (e: unknown) => {
  document.body.append(el('p', { role: 'alert' }, `This page cannot be read: ${String(e)}`))
})
