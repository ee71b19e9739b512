import { assign, setup } from 'xstate'
import type { Instant } from '../../effects/effect.js'
import { by, type Source } from '../source.js'

// Who is at the other end of the guest link in passt mode: a hypervisor that connects to our socket, or the connected
// socket that --fd names. One at a time; flows and what was learnt of the guest outlive it, so that a guest that is
// started again finds its world (behaviour.md#clients).
//
//   waiting      nobody: what goes to the guest counts as sent
//   connected    one client; another is turned away
//   handingOver  the client has hung up, but what it sent last is still being read, and the next one is here already: a
//                hypervisor that is started again at once must not be turned away for its predecessor's sake
//   gone         --one-off or --fd: the end of the only client is ours

/** ms in which news about clients that anybody could make are not news again: they could fill a log. */
export const MESSAGE_PERIOD = 10_000

export type LinkEffect =
  /** Frames go to and come from this client from here on. */
  | { readonly type: 'LinkUse'; readonly fd: number }
  /** Close a client that was never served. */
  | { readonly type: 'LinkRefuse'; readonly fd: number }
  /** Close the client that is served. */
  | { readonly type: 'LinkClose' }
  /** The guest may be there: ask for its addresses (ARP, NS), advertise the router. */
  | { readonly type: 'LinkUp' }
  | { readonly type: 'LinkDown' }
  /** Worth a message; `again`: the same was said less than MESSAGE_PERIOD ago. `number` is PID or errno, `why` of 'broken'. */
  | {
      readonly type: 'LinkSay'
      readonly what: LinkNews
      readonly number: number
      readonly why: string
      readonly again: boolean
    }

export type LinkNews = 'accepted' | 'refused' | 'gone' | 'broken'

export type LinkEvent =
  /** `pid` 0: unknown. `hungUp`: so has the client that is connected, though not all is read. */
  | {
      readonly type: 'CLIENT'
      readonly fd: number
      readonly pid: number
      readonly hungUp: boolean
      readonly now: Instant
    }
  /** --fd: connected from the start. */
  | { readonly type: 'FD_GIVEN'; readonly fd: number }
  /** Nothing more comes from the client; errno 0: it closed the connection. */
  | { readonly type: 'CLIENT_GONE'; readonly errno: number }
  /**
   * What the client does nobody can do: a length that no frame has puts the stream out of step for good (#regression-37), and so it
   * is with vhost-user. `why`: what, in words.
   */
  | { readonly type: 'BROKEN'; readonly why: string; readonly now: Instant }
  /** The guest was moved to another host: that its client ends here is not our end (behaviour.md#migration). */
  | { readonly type: 'GUEST_MOVED' }

interface Client {
  readonly fd: number
  readonly pid: number
}
export interface LinkContext {
  readonly oneOff: boolean
  /** Whom the link is handed over to. */
  readonly next: Client
  /** When a message was given, null: never. */
  readonly badSaid: Instant | null
  readonly refusalSaid: Instant | null
}
export interface LinkInput {
  readonly oneOff: boolean
}

const NOBODY: Client = { fd: -1, pid: 0 }
type Inert<K> = (_: unknown, params: Omit<Extract<LinkEffect, { type: K }>, 'type'>) => void
const inert = (): void => {}
const linkActions: { readonly [K in LinkEffect['type']]: Inert<K> } = {
  LinkUse: inert,
  LinkRefuse: inert,
  LinkClose: inert,
  LinkUp: inert,
  LinkDown: inert,
  LinkSay: inert
}

const due = (said: Instant | null, now: Instant): boolean => said === null || now - said >= MESSAGE_PERIOD
type Of<K extends LinkEvent['type']> = {
  readonly context: LinkContext
  readonly event: Extract<LinkEvent, { type: K }>
}
const none = {}
const byFd = ({ event }: { event: { readonly fd: number } }) => ({ fd: event.fd })
const byNow = ({ event }: { event: { readonly now: Instant } }) => ({ now: event.now })
const byClient = ({ event }: Of<'CLIENT'>) => ({ fd: event.fd, pid: event.pid })
const byNext = ({ context }: { context: LinkContext }) => ({ fd: context.next.fd })
const say = (what: LinkNews, number: number, again = false, why = '') => ({ what, number, why, again })
const accepted = ({ event }: Of<'CLIENT'>) => say('accepted', event.pid)
const acceptedNext = ({ context }: { context: LinkContext }) => say('accepted', context.next.pid)
const refused = ({ context: c, event }: Of<'CLIENT'>) =>
  say('refused', event.pid, !due(c.refusalSaid, event.now))
const gone = ({ event }: Of<'CLIENT_GONE'>) => say('gone', event.errno)
const broken = ({ context: c, event }: Of<'BROKEN'>) =>
  say('broken', 0, !due(c.badSaid, event.now), event.why)

// Actions of several rows
const sayGone = { type: 'LinkSay', params: gone } as const
const sayBroken = { type: 'LinkSay', params: broken } as const
const noteBad = { type: 'noteBad', params: byNow } as const
const leave = [
  { type: 'LinkClose', params: none },
  { type: 'LinkDown', params: none }
] as const
// The fragments that its predecessor left are not its own
const welcomeNext = [
  { type: 'LinkDown', params: none },
  { type: 'LinkUse', params: byNext },
  { type: 'LinkSay', params: acceptedNext },
  { type: 'LinkUp', params: none },
  { type: 'forgetNext' }
] as const
const oneAtATime = by('behaviour.md#clients')
/** --one-off, --fd: the only client's end is ours. */
const onlyOne = by('behaviour.md#callers')
/** A frame length that cannot be, or a broken vhost-user session. */
const outOfStep = by('behaviour.md#framing; behaviour.md#vhost-user', 37)

export const guestLinkMachine = setup({
  types: {
    context: {} as LinkContext,
    events: {} as LinkEvent,
    input: {} as LinkInput,
    meta: {} as Source
  },
  guards: {
    oneOff: ({ context }) => context.oneOff,
    hungUp: (_, p: { hungUp: boolean }) => p.hungUp
  },
  actions: {
    ...linkActions,
    noteNext: assign((_, next: Client) => ({ next })),
    forgetNext: assign(() => ({ next: NOBODY })),
    outlive: assign({ oneOff: false }),
    noteRefusal: assign(({ context: c }, { now }: { now: Instant }) =>
      due(c.refusalSaid, now) ? { refusalSaid: now } : {}
    ),
    noteBad: assign(({ context: c }, { now }: { now: Instant }) =>
      due(c.badSaid, now) ? { badSaid: now } : {}
    )
  }
}).createMachine({
  id: 'guest-link',
  description:
    'The client of the guest link, in passt mode: who is served, who is turned away, when all ends.',
  context: ({ input }) => ({ oneOff: input.oneOff, next: NOBODY, badSaid: null, refusalSaid: null }),
  initial: 'waiting',
  on: { GUEST_MOVED: { actions: 'outlive', meta: by('behaviour.md#migration') } },
  states: {
    waiting: {
      on: {
        CLIENT: {
          target: 'connected',
          actions: [
            { type: 'LinkUse', params: byFd },
            { type: 'LinkSay', params: accepted },
            { type: 'LinkUp', params: none }
          ],
          meta: oneAtATime
        },
        FD_GIVEN: {
          target: 'connected',
          actions: [
            { type: 'LinkUse', params: byFd },
            { type: 'LinkUp', params: none }
          ],
          meta: by('passt(1), --fd')
        }
      }
    },
    connected: {
      on: {
        CLIENT: [
          {
            guard: { type: 'hungUp', params: ({ event }) => ({ hungUp: event.hungUp }) },
            target: 'handingOver',
            actions: { type: 'noteNext', params: byClient },
            meta: oneAtATime
          },
          {
            actions: [
              { type: 'LinkRefuse', params: byFd },
              { type: 'LinkSay', params: refused },
              { type: 'noteRefusal', params: byNow }
            ],
            meta: oneAtATime
          }
        ],
        CLIENT_GONE: [
          { guard: 'oneOff', target: 'gone', actions: sayGone, meta: onlyOne },
          { target: 'waiting', actions: [sayGone, ...leave], meta: oneAtATime }
        ],
        BROKEN: [
          { guard: 'oneOff', target: 'gone', actions: sayBroken, meta: onlyOne },
          { target: 'waiting', actions: [sayBroken, noteBad, ...leave], meta: outOfStep }
        ]
      }
    },
    // Native offers nobody else while it waits for the word about `next`.
    handingOver: {
      on: {
        CLIENT_GONE: [
          { guard: 'oneOff', target: 'gone', actions: sayGone, meta: onlyOne },
          { target: 'connected', actions: [sayGone, ...welcomeNext], meta: oneAtATime }
        ],
        BROKEN: [
          { guard: 'oneOff', target: 'gone', actions: sayBroken, meta: onlyOne },
          { target: 'connected', actions: [sayBroken, noteBad, ...welcomeNext], meta: outOfStep }
        ]
      }
    },
    gone: { type: 'final', entry: { type: 'LinkClose', params: none } }
  }
})
