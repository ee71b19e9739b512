import type { Socket } from 'node:net'
import * as E from 'fp-ts/lib/Either.js'
import {
  ANSWER_MAX,
  type Answer,
  AnswerLine,
  CHANGE_MAX,
  ChangeLine,
  moreLines,
  type Question,
  QuestionLine,
  type RuleChange
} from '../../codecs/control/api.js'

export type AnswerTo<K extends Answer['to']> = Extract<Answer, { readonly to: K }>
/** The engine; one line at a time is under way. */
export interface Engine {
  readonly ask: <K extends Question['ask']>(q: Extract<Question, { readonly ask: K }>) => Promise<AnswerTo<K>>
  /** null: it is too much at once. */
  readonly change: (c: RuleChange) => Promise<AnswerTo<'change'>> | null
}

/** `over`: the engine is gone, or is not understood. */
export const engineLine = (socket: Socket, over: () => void): Engine => {
  const waiting: { readonly line: string; readonly to: Answer['to']; readonly done: (a: Answer) => void }[] =
    []
  let rest = ''
  const next = (): void => {
    const first = waiting[0]
    if (first !== undefined) socket.write(`${first.line}\n`)
  }
  const heard = (line: string): void => {
    const answer = AnswerLine.decode(Buffer.from(line, 'latin1').toString())
    const first = waiting.shift()
    if (first === undefined || E.isLeft(answer) || answer.right.to !== first.to) return over()
    first.done(answer.right)
    next()
  }
  socket.on('data', (data) => {
    const more = moreLines(rest, Buffer.from(data).toString('latin1'), ANSWER_MAX)
    if (E.isLeft(more)) return over()
    rest = more.right.rest
    for (const line of more.right.lines) heard(line)
  })
  socket.on('end', over)
  socket.on('error', over)
  socket.on('close', over)
  const say = <K extends Answer['to']>(to: K, line: string): Promise<AnswerTo<K>> =>
    new Promise((resolve) => {
      waiting.push({ line, to, done: (a) => resolve(a as never) })
      if (waiting.length === 1) next()
    })
  return {
    ask: (q) => say(q.ask, QuestionLine.encode(q)) as never,
    change: (c) => {
      const line = ChangeLine.encode(c)
      // Who says what the engine does not know is answered no more
      const fits = Buffer.byteLength(line) < CHANGE_MAX && E.isRight(ChangeLine.decode(line))
      return fits ? say('change', line) : null
    }
  }
}
