import { confClientMachine } from '../../machines/forward/conf-client.js'
import { alphabet, atLeast, lettersOf } from '../alphabet.js'

// Who comes to the control socket.

const c = lettersOf<typeof confClientMachine>()
export const confClient = alphabet<typeof confClientMachine>({
  machine: confClientMachine,
  inputs: { usual: {} },
  letters: [
    c('came', 'a client of our user has connected', ({ now }) => ({ type: 'CAME', allowed: true, now })),
    c('stranger', "somebody else's client has", ({ now }) => ({ type: 'CAME', allowed: false, now })),
    c('asked', 'it has said which rules there are to be', ({ now }) => ({
      type: 'ASKED',
      request: [{ pif: 1, rules: [] }],
      now
    })),
    c('faulty', 'it says what is no request', ({ now }) => ({ type: 'FAULTY', why: 'too many tables', now })),
    c('ended', 'it says no more', ({ now }) => ({ type: 'ENDED', now })),
    c('turn', 'its rules can be', ({ now }) => ({ type: 'TURN', why: null, changes: true, now })),
    c('turn-same', 'they are those that there are', ({ now }) => ({
      type: 'TURN',
      why: null,
      changes: false,
      now
    })),
    c('turn-refused', 'they cannot be', ({ now }) => ({
      type: 'TURN',
      why: 'rules for non-existent table',
      changes: false,
      now
    })),
    c('applied', 'they listen', ({ now }) => ({ type: 'APPLIED', why: null, now })),
    c('not-applied', 'a port is taken', ({ now }) => ({ type: 'APPLIED', why: 'cannot listen', now })),
    c('deadline', 'it takes too long', ({ context, now }) =>
      context.deadline === 0 ? null : { type: 'DEADLINE', now: atLeast(now, context.deadline) }
    ),
    c('deadline-early', 'a deadline passes for nothing', ({ context, now }) =>
      context.deadline > 0 && now >= context.deadline ? null : { type: 'DEADLINE', now }
    )
  ],
  abstract: (x) => (x.deadline > 0 ? 'timed' : ''),
  world: [
    { effect: 'Queue', letters: ['turn'] },
    { effect: 'Apply', letters: ['applied'] }
  ]
})
