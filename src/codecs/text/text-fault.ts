import { visible } from './visible.js'

/** What is wrong with a text that somebody typed, and where: index of the offending character, text.length at its end. */
export interface Fault {
  readonly message: string
  readonly at: number
}

/** A piece of a longer text that knows where it stands, so that faults in it point into the whole. */
export interface Span {
  readonly text: string
  readonly at: number
}

export const span = (text: string): Span => ({ text, at: 0 })
/** Characters from..to of a span. */
export const cut = (s: Span, from: number, to: number = s.text.length): Span => ({
  text: s.text.slice(from, to),
  at: s.at + from
})

/** Characters shown of a long text. */
const WINDOW = 60

/**
 * Three lines, the first of them sufficient in itself: `MESSAGE at character 4 of '22,70000'`, the text, and a caret
 * under the character. Long texts are shown around it.
 */
export const showFault = (text: string, { message, at }: Fault): string => {
  const from = Math.max(0, Math.min(at - WINDOW / 2, text.length - WINDOW))
  const head = from > 0 ? '…' : ''
  const tail = from + WINDOW < text.length ? '…' : ''
  const shown = `${head}${visible(text.slice(from, from + WINDOW))}${tail}`
  const where = at >= text.length ? 'at the end' : `at character ${at + 1}`
  const caret = `${' '.repeat(head.length + at - from)}^`
  return `${visible(message)} ${where} of '${shown}'\n    ${shown}\n    ${caret}`
}
