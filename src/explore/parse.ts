// Values that are typed: JSON, and what people leave out of it. Names need no quotes, texts may have single ones, numbers may be
// hexadecimal or bigints, a comma may be one too many.

/** What is wrong, in words. */
export class NotParsed extends Error {}

const TOKEN =
  /\s*(?:([{}[\],:])|'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(-?(?:0[xX][\da-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))(n?)(?![\w.])|([A-Za-z_$][\w$.-]*))/y
const WORDS: Readonly<Record<string, unknown>> = { true: true, false: false, null: null, undefined }

interface Token {
  readonly at: number
  readonly mark?: string
  readonly text?: string
  readonly value?: unknown
  readonly word?: string
}
const unescaped = (s: string): string => {
  try {
    return String(JSON.parse(`"${s.replace(/\\'/g, "'").replace(/(?<!\\)"/g, '\\"')}"`))
  } catch {
    throw new NotParsed(`not a text: ${s}`)
  }
}
const numberOf = (s: string): number => (s.startsWith('-') ? -Number(s.slice(1)) : Number(s))
const tokens = (line: string): readonly Token[] => {
  const out: Token[] = []
  TOKEN.lastIndex = 0
  while (line.slice(TOKEN.lastIndex).trim() !== '') {
    const at = TOKEN.lastIndex
    const m = TOKEN.exec(line)
    if (m === null) throw new NotParsed(`not understood: ${line.slice(at).trim()}`)
    const [, mark, single, double, digits, big, word] = m
    const text = single ?? double
    if (mark !== undefined) out.push({ at, mark })
    else if (text !== undefined) out.push({ at, text: unescaped(text) })
    else if (word !== undefined) out.push({ at, word })
    else if (big === 'n')
      out.push({ at, value: digits!.startsWith('-') ? -BigInt(digits!.slice(1)) : BigInt(digits!) })
    else out.push({ at, value: numberOf(digits!) })
  }
  return out
}

/** Throws NotParsed. */
export const parsed = (line: string): unknown => {
  const all = tokens(line)
  let i = 0
  const next = (): Token => {
    const t = all[i++]
    if (t === undefined) throw new NotParsed('it ends too early')
    return t
  }
  const isNext = (mark: string): boolean => all[i]?.mark === mark
  const expect = (mark: string): void => {
    const t = next()
    if (t.mark !== mark) throw new NotParsed(`'${mark}' expected: ${line.slice(t.at).trim()}`)
  }
  const list = (): unknown[] => {
    const out: unknown[] = []
    while (!isNext(']')) {
      out.push(value())
      if (!isNext(']')) expect(',')
    }
    expect(']')
    return out
  }
  const record = (): object => {
    const out: [string, unknown][] = []
    while (!isNext('}')) {
      const key = next()
      const name = key.word ?? key.text
      if (name === undefined) throw new NotParsed(`a name expected: ${line.slice(key.at).trim()}`)
      expect(':')
      out.push([name, value()])
      if (!isNext('}')) expect(',')
    }
    expect('}')
    return Object.fromEntries(out)
  }
  const value = (): unknown => {
    const t = next()
    if (t.mark === '{') return record()
    if (t.mark === '[') return list()
    if (t.text !== undefined) return t.text
    if (t.word !== undefined) return t.word in WORDS ? WORDS[t.word] : t.word
    if (t.mark !== undefined) throw new NotParsed(`a value expected: ${line.slice(t.at).trim()}`)
    return t.value
  }
  const v = value()
  if (i < all.length) throw new NotParsed(`too much: ${line.slice(all[i]!.at).trim()}`)
  return v
}
