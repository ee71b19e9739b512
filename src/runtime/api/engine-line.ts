import type { Socket } from 'node:net'
import * as E from 'fp-ts/lib/Either.js'
import {
  ANSWER_MAX,
  type Answer,
  AnswerLine,
  moreLines,
  type Question,
  QuestionLine
} from '../../codecs/control/api.js'

export type AnswerTo<K extends Question['ask']> = Extract<Answer, { readonly to: K }>
/** Asks the engine; one question at a time is under way. */
export type Ask = <K extends Question['ask']>(
  q: Extract<Question, { readonly ask: K }>
) => Promise<AnswerTo<K>>

/** `over`: the engine is gone, or is not understood. */
export const engineLine = (socket: Socket, over: () => void): Ask => {
  const waiting: { readonly q: Question; readonly done: (a: Answer) => void }[] = []
  let rest = ''
  const next = (): void => {
    const first = waiting[0]
    if (first !== undefined) socket.write(`${QuestionLine.encode(first.q)}\n`)
  }
  const heard = (line: string): void => {
    const answer = AnswerLine.decode(Buffer.from(line, 'latin1').toString())
    const first = waiting.shift()
    if (first === undefined || E.isLeft(answer) || answer.right.to !== first.q.ask) return over()
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
  return (q) =>
    new Promise((resolve) => {
      waiting.push({ q, done: (a) => resolve(a as never) })
      if (waiting.length === 1) next()
    })
}
