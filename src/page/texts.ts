// Many texts that differ in numbers only, each pattern of them kept once: 'seq 1 ack 7 len 100' is 'seq # ack # len #' and three numbers.

/** In a pattern: a number of 32 bits; behind a point the three digits of a fraction. */
const NUMBER = '\u0001'
const FRACTION = '\u0002'
/** In front of a text that has one of these itself, and stands for nothing but itself. */
const VERBATIM = '\u0003'

const NUMBERS = /(?<=^|[ (=\n])(0|[1-9]\d{0,9})(?:\.(\d{3}))?(?=$|[ ,;)\n]|: )/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the marks
const MARKS = /[\u0001-\u0003]/
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the marks
const PLACES = /[\u0001\u0002]/g

/** The pattern, and its numbers, which are appended to `numbers`. Law: filled(pattern, numbers) = text. */
export const patternOf = (text: string, numbers: number[]): string => {
  if (MARKS.test(text)) return VERBATIM + text
  return text.replace(NUMBERS, (all, whole: string, fraction: string | undefined) => {
    const n = Number(whole)
    if (n > 0xffffffff) return all
    numbers.push(n)
    if (fraction === undefined) return NUMBER
    numbers.push(Number(fraction))
    return `${NUMBER}.${FRACTION}`
  })
}
/** How many numbers a pattern takes. */
export const placesIn = (pattern: string): number =>
  pattern.startsWith(VERBATIM) ? 0 : (pattern.match(PLACES)?.length ?? 0)
/** The text; its numbers begin at `at`. */
export const filled = (pattern: string, numbers: ArrayLike<number>, at: number): string => {
  if (pattern.startsWith(VERBATIM)) return pattern.slice(1)
  let next = at
  return pattern.replace(PLACES, (mark) => {
    const n = String(numbers[next++] ?? 0)
    return mark === FRACTION ? n.padStart(3, '0') : n
  })
}
