// Elements. What the record says gets into the page by these alone, as text: nothing here, or elsewhere in the page, reads markup.

type Attributes = Readonly<Record<string, string | number | boolean>>
type Child = Node | string
const SVG = 'http://www.w3.org/2000/svg'

const filledIn = <E extends Element>(e: E, attributes: Attributes, children: ReadonlyArray<Child>): E => {
  for (const [name, value] of Object.entries(attributes))
    if (value !== false) e.setAttribute(name, value === true ? '' : String(value))
  e.append(...children)
  return e
}
export const el = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: ReadonlyArray<Child>
): HTMLElementTagNameMap[K] => filledIn(document.createElement(tag), attributes, children)
export const svg = <K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: ReadonlyArray<Child>
): SVGElementTagNameMap[K] => filledIn(document.createElementNS(SVG, tag), attributes, children)

/** A list of which only what is seen is in the page: rows of one height, any number of them. */
export interface VirtualList {
  readonly element: HTMLElement
  /** Of so many rows; where it was scrolled to is kept as far as it goes. */
  readonly reset: (n: number) => void
  /** What is seen is made anew. */
  readonly refresh: () => void
  /** This row is in sight: in the middle, if it was not. */
  readonly reveal: (i: number) => void
}
/** Browsers have a highest element, of 17 million pixels and more. */
const HIGHEST = 8_000_000
/** Rows that are made beyond both ends. */
const BEYOND = 4

export const virtualList = (
  attributes: Attributes,
  height: number,
  row: (i: number) => HTMLElement
): VirtualList => {
  const all = el('div', { class: 'all', role: 'presentation' })
  const element = el('div', { ...attributes, class: `list ${attributes.class ?? ''}`, tabindex: 0 }, all)
  let n = 0
  /** Rows in front of the first one that is seen, with a fraction. */
  const first = (): number => {
    const most = all.clientHeight - element.clientHeight
    const rows = n - element.clientHeight / height
    return most <= 0 || rows <= 0 ? 0 : (element.scrollTop / most) * rows
  }
  const refresh = (): void => {
    const top = first()
    const seen = element.clientHeight / height
    const from = Math.max(0, Math.floor(top) - BEYOND)
    const to = Math.min(n, Math.ceil(top + seen) + BEYOND)
    const rows: HTMLElement[] = []
    for (let i = from; i < to; i++) {
      const e = row(i)
      e.style.transform = `translateY(${Math.round(element.scrollTop + (i - top) * height)}px)`
      rows.push(e)
    }
    all.replaceChildren(...rows)
  }
  let asked = 0
  const soon = (): void => {
    cancelAnimationFrame(asked)
    asked = requestAnimationFrame(refresh)
  }
  element.addEventListener('scroll', soon, { passive: true })
  new ResizeObserver(soon).observe(element)
  return {
    element,
    refresh,
    reset: (count) => {
      n = count
      all.style.height = `${Math.min(HIGHEST, n * height)}px`
      refresh()
    },
    reveal: (i) => {
      const top = first()
      const seen = element.clientHeight / height
      if (i >= top + 1 && i < top + seen - 2) return
      const most = all.clientHeight - element.clientHeight
      const rows = n - seen
      if (rows > 0) element.scrollTop = (Math.min(Math.max(0, i - seen / 2), rows) / rows) * most
    }
  }
}

/** What the page was given with it (runtime/replay/document.ts, `data`): once, it is let go. */
export const givenOctets = (): Uint8Array<ArrayBuffer> => {
  const script = document.getElementById('data')
  const text = atob(script?.textContent ?? '')
  script?.remove()
  const octets = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) octets[i] = text.charCodeAt(i)
  return octets
}
