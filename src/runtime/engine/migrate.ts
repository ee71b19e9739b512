import * as t from 'io-ts'
import { type Instant, instant } from '../../effects/effect.js'
import type { StateDirection } from '../../machines/link/vhost-session.js'
import { closeFd } from '../abi/effects.js'
import { movedErrno, repairHelper } from '../abi/events.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { keeping } from '../flow/keeps.js'
import { migrationTarget } from './migrate-in.js'
import { migrationSource, SETTLING } from './migrate-out.js'

// Live migration (behaviour.md#migration): this guest leaves, or another one comes. One of both at a time.

export interface Migration {
  readonly feature: Feature
  /**
   * The guest's state is to be written there, or read from there. `done`, once, in this turn or later. `hold`: what the guest sends
   * has to wait, or no longer: its connections do not run yet.
   */
  readonly transfer: (
    direction: StateDirection,
    fd: number,
    now: Instant,
    done: (ok: boolean, now: Instant) => void,
    hold: (on: boolean) => void
  ) => void
  /** The front-end has heard how it went. */
  readonly checked: (ok: boolean, now: Instant) => void
  /** The guest runs again after a save. */
  readonly resumed: (now: Instant) => void
  readonly session: (now: Instant) => void
  readonly gone: (now: Instant) => void
}

/** Something to be done behind so many turns. */
interface Later {
  turns: number
  readonly step: (now: Instant) => void
}

/** A save of what is not running yet. */
interface Waiting {
  readonly fd: number
  readonly start: (now: Instant) => void
  readonly done: (ok: boolean, now: Instant) => void
}

const MigrationKept = t.type({
  direction: t.union([t.literal('save'), t.literal('load')]),
  /** Has a helper connected? */
  source: t.boolean,
  target: t.type({ helper: t.boolean, failed: t.boolean })
})

/** `movedAway`: whose guest has gone for good need not end with its client. */
export const migration = (
  w: World,
  o: { readonly exit: boolean; readonly linger: boolean },
  movedAway: () => void
): Migration => {
  const deadline = new Deadline()
  let sourceAt = Number.POSITIVE_INFINITY
  let targetAt = Number.POSITIVE_INFINITY
  let waiting: Later[] = []
  let direction: StateDirection = 'save'
  let done: (ok: boolean, now: Instant) => void = () => {}
  let hold: (on: boolean) => void = () => {}
  let save: Waiting | null = null
  const arm = (): void => {
    deadline.at = waiting.length > 0 ? 0 : Math.min(sourceAt, targetAt)
  }
  const later = (step: (now: Instant) => void, turns: number): void => {
    waiting.push({ step, turns })
    arm()
  }
  const source = migrationSource(w, o.exit, o.linger, {
    done: (ok, now) => done(ok, now),
    hold: (on) => hold(on),
    listeners: (open) => {
      // A socket that we were started with is others' as well, and they want it to listen
      for (const [id, { rule }] of w.listeners)
        if (rule.proto === 'tcp' && rule.given === null) {
          if (!open) w.rings.native.pauseListener(id)
          else if (w.rings.native.resumeListener(id) !== 0)
            w.log.event(
              'ports',
              'warning',
              'migration: a port that was released belongs to somebody else now'
            )
        }
    },
    movedAway: (exit) => {
      movedAway()
      if (!exit) return
      w.log.at('info', 'Migration complete, exiting')
      // The front-end's answer is on its way
      later(() => {
        w.ended = { why: 'stop' }
      }, 1)
    },
    later,
    armed: (at) => {
      sourceAt = at
      arm()
    }
  })
  const target = migrationTarget(w, {
    done: (ok, now) => done(ok, now),
    hold: (on) => hold(on),
    later,
    armed: (at) => {
      targetAt = at
      arm()
    },
    sharesHelper: () => save !== null,
    over: () => {
      const next = save
      later((at) => {
        if (next === null || save !== next) return
        save = null
        next.start(at)
      }, SETTLING)
    }
  })
  const cancel = (): Waiting | null => {
    const was = save
    save = null
    if (was !== null) closeFd(w.rings, was.fd)
    return was
  }
  return {
    feature: {
      name: 'migration',
      // What is under way is not told: nothing of it is left once it is over, but who helps
      keeps: keeping(
        MigrationKept,
        () => ({ direction, source: source.kept(), target: target.kept() }),
        (k) => {
          direction = k.direction
          source.read(k.source)
          target.read(k.target)
        },
        () =>
          source.isIdle() && target.isIdle() && save === null && waiting.length === 0
            ? null
            : 'its guest moves'
      ),
      deadline,
      onTime: (now) => {
        const list = waiting
        waiting = []
        for (const l of list)
          if (l.turns-- > 0) waiting.push(l)
          else l.step(now)
        if (now >= sourceAt) {
          sourceAt = Number.POSITIVE_INFINITY
          source.step({ type: 'DEADLINE', now })
        }
        if (now >= targetAt) {
          targetAt = Number.POSITIVE_INFINITY
          target.step({ type: 'DEADLINE', now })
        }
        arm()
      },
      takes: {
        REPAIR_HELPER: (i, now) => {
          const there = repairHelper(w.rings.ev, i)
          w.log.at('debug', there ? 'passt-repair has connected' : 'passt-repair is gone')
          source.step({ type: 'HELPER', there, now })
          target.step({ type: 'HELPER', there, now })
        },
        REPAIRED: (i, now) => {
          const answer = { type: 'REPAIRED', errno: movedErrno(w.rings.ev, i), now } as const
          if (direction === 'save') source.step(answer)
          else target.step(answer)
        },
        TCP_DUMPED: (i, now) => source.dumped(i, now),
        STATE_WRITTEN: (i, now) => source.written(i, now),
        STATE_PROGRESS: (i, now) => source.written(i, now),
        STATE_ENDED: (i, now) => {
          const errno = movedErrno(w.rings.ev, i)
          if (direction === 'save') source.step({ type: 'STATE_ENDED', errno, now })
          else target.ended(errno, now)
        },
        STATE_OCTETS: (i, now) => target.octets(i, now),
        RESTORED: (i, now) => target.restored(i, now)
      },
      guestUp: (now) => target.step({ type: 'GUEST_UP', now }),
      flowEnded: (f) => {
        if (f.kind !== 'tcp') return
        if (f.held) source.step({ type: 'FLOW_ENDED', flow: f.index, now: instant(w.rings.clock[0]) })
        target.flowEnded(f.index)
      }
    },
    transfer: (way, fd, now, whenDone, whileHeld) => {
      const start = (at: Instant): void => {
        direction = way
        done = whenDone
        hold = whileHeld
        if (way === 'save') source.save(fd, at)
        else target.step({ type: 'LOAD', fd, now: at })
      }
      if (way === 'load' && !source.isIdle()) {
        closeFd(w.rings, fd)
        w.log.event(
          'migration',
          'error',
          'migration: no state was loaded: what was saved here still waits for its guest'
        )
        return whenDone(false, now)
      }
      if (way === 'load' || target.isIdle()) return start(now)
      // A guest that came and is to leave: its connections are ours, so they run first, whether it does or not
      save = { fd, start, done: whenDone }
      target.step({ type: 'GUEST_UP', now })
    },
    checked: (ok, now) => {
      if (ok && direction === 'save') source.step({ type: 'CHECKED', now })
    },
    resumed: (now) => {
      cancel()?.done(false, now)
      source.step({ type: 'RESUMED', now })
    },
    session: (now) => source.step({ type: 'SESSION', now }),
    gone: (now) => {
      cancel()
      source.step({ type: 'GONE', now })
      target.step({ type: 'GONE', now })
    }
  }
}
