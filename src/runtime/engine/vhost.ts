import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { VHOST_RINGS, VhostMessage, VhostReply, type VhostRequest } from '../../codecs/control/vhost-user.js'
import { Big, Place, Places } from '../../codecs/log/written.js'
import { octets } from '../../codecs/value/octets.js'
import { orNull } from '../../codecs/value/or-null.js'
import type { Instant } from '../../effects/effect.js'
import { vhostEvents } from '../../machines/link/vhost-events.js'
import {
  type HeldFd,
  type HeldSession,
  mayBeHanded,
  requestsOf,
  startsRing,
  staysHere
} from '../../machines/link/vhost-handed.js'
import {
  type RingFd,
  type RingMode,
  type VhostEffect,
  type VhostEvent,
  type VhostFault,
  type VhostOffer,
  vhostSessionMachine
} from '../../machines/link/vhost-session.js'
import { initialProbes } from '../../machines/services/services.js'
import {
  HAND_LOG,
  HAND_REGION,
  HAND_VRING,
  VRING_BAD_ADDRESS,
  VRING_BAD_INDEX,
  VRING_BAD_INDIRECT,
  VRING_BAD_LENGTH,
  VRING_BAD_MEMORY,
  VRING_BAD_ORDER,
  VRING_CALL,
  VRING_DISCARD,
  VRING_ERR,
  VRING_FDS,
  VRING_KICK,
  VRING_LOG_USED,
  VRING_LOOP,
  VRING_OFF,
  VRING_ON,
  VRING_RX,
  VRING_TX
} from '../abi/abi.js'
import {
  closeFd,
  type Handed,
  vhostAddRegion,
  vhostFeatures,
  vhostLog,
  vhostLogFd,
  vhostMemory,
  vhostNext,
  vhostRemoveRegion,
  vhostReply,
  vringAddr,
  vringBase,
  vringFd,
  vringRun,
  vringStop
} from '../abi/effects.js'
import { vhostDone, vhostMessage, vringBroken, vringStopped } from '../abi/events.js'
import { type Rings, txRoom } from '../abi/rings.js'
import type { Feature } from '../data/feature.js'
import { guestDown, guestUp } from '../data/guest.js'
import type { World } from '../data/world.js'
import { type Keeps, keeping, stateAt } from '../flow/keeps.js'
import { errorText } from '../log/error-text.js'
import { compile } from '../machine/compile.js'
import { carryOutService } from '../services/serve.js'
import type { Migration } from './migrate.js'

// A vhost-user session: machines/link/vhost-session.ts decides, native (addon/vhost/) reads messages, maps memory and walks rings.

export const machine = compile<typeof vhostSessionMachine, VhostEffect>(vhostSessionMachine)
/** Waits for nothing. */
const SERVING = 'session.serving'
const BUSY = 'its front-end waits for an answer'
const MOVES = 'its guest moves'

const MODES: Readonly<Record<RingMode, number>> = {
  stopped: VRING_OFF,
  disabled: VRING_DISCARD,
  enabled: VRING_ON
}
const WHICH: Readonly<Record<RingFd, number>> = { kick: VRING_KICK, call: VRING_CALL, err: VRING_ERR }

const REASONS: Readonly<Record<number, string>> = {
  [VRING_BAD_INDEX]: 'an index that cannot be',
  [VRING_LOOP]: 'a loop',
  [VRING_BAD_ADDRESS]: 'an address outside of the memory that is shared',
  [VRING_BAD_LENGTH]: 'a length that cannot be',
  [VRING_BAD_INDIRECT]: 'a bad indirect table',
  [VRING_BAD_ORDER]: 'buffers in the wrong order',
  [VRING_BAD_MEMORY]: 'memory that its file does not have'
}
/** Behind "client". */
const words = (why: VhostFault): string => {
  switch (why.kind) {
    case 'malformed':
      return `sent a vhost-user message that cannot be: ${why.text}`
    case 'failed':
      return `sent ${why.request}, which failed: ${errorText(why.errno)}`
    case 'legacy':
      return 'has a driver older than virtio 1.0 (no VIRTIO_F_VERSION_1), which vhost-user does not serve here'
    case 'ring': {
      const name = why.ring === VRING_RX ? 'receive' : 'transmit'
      return `has a broken ${name} ring: ${REASONS[why.reason] ?? `reason ${why.reason}`} (0x${why.detail.toString(16)})`
    }
  }
}

/** Somebody can be reached: ask for the guest's addresses, and let everybody know. */
export const welcomeGuest = (w: World, now: Instant): void => {
  carryOutService(w, initialProbes(w.cfg.guest, w.guest.mac))
  guestUp(w, now)
}

const put = (r: Rings, reply: VhostReply): void => {
  const octets = VhostReply.encode(reply)
  const off = txRoom(r, octets.length)
  r.slab.set(octets, off)
  vhostReply(r, { off, len: octets.length })
}

// --- for a process that takes our place

/** A message of a session that changes hands; the sender's `fds` are names of descriptors, the receiver's are descriptors. */
export interface HandedMessage<Fd> {
  readonly octets: Uint8Array
  readonly fds: ReadonlyArray<Fd>
}

const RING_WORDS = 8
const REGION_WORDS = 4
/** Native.vhostHeld() */
const heldOf = (told: Uint8Array): HeldSession => {
  const w = new BigUint64Array(told.buffer, told.byteOffset, told.length / 8)
  const [features, logSize, logOffset, logFd] = w
  const ringsAt = 4
  const regionsAt = ringsAt + VHOST_RINGS * RING_WORDS
  return {
    features,
    log: logSize === 0n ? null : { size: logSize, offset: logOffset },
    logFd: logFd === 1n,
    rings: Array.from({ length: VHOST_RINGS }, (_, i) => {
      const [size, desc, used, avail, log, flags, next, fds] = w.subarray(ringsAt + i * RING_WORDS)
      const logged = (Number(flags) & VRING_LOG_USED) !== 0
      const has = (which: number): boolean => ((Number(fds) >> which) & 1) === 1
      return {
        place: size === 0n ? null : { entries: Number(size), addresses: { logged, desc, used, avail, log } },
        next: Number(next),
        fds: { kick: has(VRING_KICK), call: has(VRING_CALL), err: has(VRING_ERR) }
      }
    }),
    regions: Array.from({ length: (w.length - regionsAt) / REGION_WORDS }, (_, i) => {
      const [gpa, size, user, offset] = w.subarray(regionsAt + i * REGION_WORDS)
      return { gpa, size, user, offset }
    })
  }
}
const handedFd = (fd: HeldFd): Handed => {
  switch (fd.of) {
    case 'region':
      return [HAND_REGION, fd.place]
    case 'log':
      return [HAND_LOG, 0]
    case 'logFd':
      return [HAND_LOG, 1]
    default:
      return [HAND_VRING, fd.ring * VRING_FDS + WHICH[fd.of]]
  }
}

/** Another process's session that becomes ours: what of it has not been dealt with. */
interface Inherited {
  readonly waiting: VhostEvent[]
  /** What starts its rings, once they are ours. */
  readonly starting: VhostEvent[]
  /** Is the one before dealt with? */
  dealt: boolean
  /** Why it cannot be ours. */
  fault: string | null
}
/** Left: what no process of ours hands over, or a guest does what we do not offer. */
const inheritedOf = (
  offer: VhostOffer,
  all: ReadonlyArray<HandedMessage<number>>
): E.Either<string, Inherited> => {
  const waiting: VhostEvent[] = []
  const starting: VhostEvent[] = []
  for (const { octets: o, fds } of all)
    for (const e of vhostEvents(octets(o), fds, false)) {
      if (e.type === 'MALFORMED') return E.left(`its vhost-user session cannot be: ${e.text}`)
      if (!mayBeHanded(e.type)) return E.left(`its vhost-user session has ${e.type}`)
      if (e.type === 'SET_FEATURES' && (e.features & ~offer.features) !== 0n)
        return E.left(
          `its guest uses features that are not offered here: 0x${(e.features & ~offer.features).toString(16)}`
        )
      ;(startsRing(e.type) ? starting : waiting).push(e)
    }
  return E.right({ waiting, starting, dealt: true, fault: null })
}

/** What the guest link has of it. */
export interface VhostSession {
  /** Why it is nobody else's now, null: it may be. */
  readonly stays: () => string | null
  /** Is a front-end there? */
  readonly isThere: () => boolean
  /** Nothing of the guest's is touched any more, or all goes on. In force a turn later. */
  readonly standStill: (on: boolean) => void
  /** What another session needs to become this one, which stands still. */
  readonly handed: () => ReadonlyArray<HandedMessage<Handed>>
  /** Before connected(): this session becomes that one, but for its rings, which do not run yet. Left: it cannot. */
  readonly inherit: (all: ReadonlyArray<HandedMessage<number>>) => E.Either<string, void>
  /** Has it become that? null: not yet. Left: it cannot. */
  readonly inherited: () => E.Either<string, void> | null
  /** Its rings run, and the front-end is heard. */
  readonly goOn: (now: Instant) => void
  /** A client's session begins, in place of another one's if there is one. */
  readonly connected: (now: Instant) => void
  readonly disconnected: (now: Instant) => void
  readonly keeps: Keeps
  /** `stale`: records are of a client that was replaced in this turn. */
  readonly takes: (stale: () => boolean) => Feature['takes']
}

const RingKept = t.type({
  entries: Place,
  kept: orNull(t.type({ logged: t.boolean, desc: Big, used: Big, avail: Big, log: Big })),
  started: t.boolean,
  enabled: t.boolean
})
const SessionKept = t.type({
  leaf: t.string,
  memory: t.boolean,
  rings: t.readonlyArray(RingKept),
  asked: t.type({ request: t.string, id: t.number, needReply: t.boolean, memory: t.boolean }),
  usable: t.boolean,
  modes: Places,
  held: t.boolean,
  still: t.boolean
})

/** `broken`: the client is to be closed; why, behind "client". */
export const vhostSession = (
  w: World,
  offer: VhostOffer,
  move: Migration,
  broken: (why: string, now: Instant) => void
): VhostSession => {
  const r = w.rings
  let state = machine.start({ offer }, [])
  /** The guest takes what it is sent. */
  let usable = false
  const reach = (now: boolean, at: Instant): void => {
    if (now === usable) return
    usable = now
    if (now) welcomeGuest(w, at)
    else guestDown(w)
  }
  /** As the front-end wants them, by ring. */
  const modes = [VRING_OFF, VRING_OFF]
  /** Frames of the guest's stay in their ring. */
  let held = false
  /** Neither ring runs. */
  let still = false
  let inherited: Inherited | null = null
  const runRing = (ring: number): void =>
    vringRun(r, ring, still || (held && ring === VRING_TX) ? VRING_OFF : modes[ring])
  const hold = (on: boolean): void => {
    held = on
    runRing(VRING_TX)
  }
  const carryOut = (e: VhostEffect, now: Instant): void => {
    switch (e.type) {
      case 'VhostDealt':
        if (inherited !== null) {
          // The front-end has its answer
          inherited.dealt = true
          return
        }
        if (e.reply !== null) put(r, e.reply)
        return vhostNext(r)
      case 'VhostFeatures':
        w.log.at('debug', `vhost-user: features 0x${e.features.toString(16)}`)
        return vhostFeatures(r, e.features)
      case 'VhostMemory':
        return vhostMemory(
          r,
          e.regions.map(({ gpa, size, user, offset: mmapOffset }, i) => ({
            gpa,
            size,
            user,
            mmapOffset,
            fd: e.fds[i]!
          }))
        )
      case 'VhostAddRegion':
        return vhostAddRegion(r, { ...e.region, mmapOffset: e.region.offset, fd: e.fd })
      case 'VhostRemoveRegion':
        return vhostRemoveRegion(r, e.region)
      case 'VhostLog':
        return vhostLog(r, e.fd, e.size, e.offset)
      case 'VhostLogFd':
        return vhostLogFd(r, e.fd)
      case 'VringAddr': {
        const { desc, used, avail, log } = e
        return vringAddr(r, e.ring, {
          desc,
          used,
          avail,
          log,
          flags: e.logged ? VRING_LOG_USED : 0,
          size: e.entries
        })
      }
      case 'VringBase':
        return vringBase(r, e.ring, e.next)
      case 'VringFd':
        return vringFd(r, e.ring, WHICH[e.which], e.fd)
      case 'VringRun':
        modes[e.ring] = MODES[e.mode]
        return runRing(e.ring)
      case 'VringStop':
        modes[e.ring] = VRING_OFF
        return vringStop(r, e.ring)
      case 'VhostCloseFds':
        for (const fd of e.fds) closeFd(r, fd)
        return
      case 'VhostRx':
        return reach(e.usable, now)
      case 'StateTransfer':
        return move.transfer(
          e.direction,
          e.fd,
          now,
          (ok, at) => step({ type: 'TRANSFER_DONE', ok }, at),
          hold
        )
      case 'StateChecked':
        return move.checked(e.ok, now)
      case 'StateResumed':
        return move.resumed(now)
      case 'VhostUnknown':
        return w.log.at('debug', `vhost-user: request ${e.id}, which nobody knows`)
      case 'VhostFailed':
        return w.log.event('link', 'warning', `vhost-user: ${e.request}: ${errorText(e.errno)}`)
      case 'VhostBroken':
        if (inherited !== null) {
          inherited.fault = `its vhost-user session ${words(e.why)}`
          return
        }
        return broken(words(e.why), now)
    }
  }
  const step = (e: VhostEvent, now: Instant): void => {
    const effects: VhostEffect[] = []
    state = machine.step(state, e, effects)
    for (const one of effects) carryOut(one, now)
  }
  const isThere = (): boolean => machine.value(state) !== 'idle'
  const feed = (from: VhostEvent[], now: Instant): void => {
    while (inherited?.dealt === true && inherited.fault === null) {
      const e = from.shift()
      if (e === undefined) return
      inherited.dealt = false
      step(e, now)
    }
  }
  const disconnected = (now: Instant): void => {
    step({ type: 'DISCONNECTED' }, now)
    modes.fill(VRING_OFF)
    held = false
    move.gone(now)
    // frames may have come before we could answer
    if (w.guest.up) guestDown(w)
  }
  return {
    connected: (now) => {
      disconnected(now)
      step({ type: 'CONNECTED' }, now)
      move.session(now)
      if (inherited !== null) feed(inherited.waiting, now)
    },
    isThere,
    stays: () => staysHere(state.context) ?? (isThere() && machine.value(state) !== SERVING ? BUSY : null),
    standStill: (on) => {
      still = on
      for (let ring = 0; ring < VHOST_RINGS; ring++) runRing(ring)
    },
    handed: () =>
      requestsOf(heldOf(r.native.vhostHeld()), state.context.rings).map(({ message, fds }) => ({
        octets: VhostMessage.encode(message),
        fds: fds.map(handedFd)
      })),
    inherit: (all) => {
      const made = inheritedOf(offer, all)
      if (E.isLeft(made)) return made
      inherited = made.right
      return E.right(undefined)
    },
    inherited: () => {
      if (inherited === null) return null
      if (inherited.fault !== null) return E.left(inherited.fault)
      return inherited.dealt && inherited.waiting.length === 0 ? E.right(undefined) : null
    },
    goOn: (now) => {
      if (inherited === null) return
      feed(inherited.starting, now)
      inherited = null
      vhostNext(r)
    },
    disconnected,
    keeps: keeping(
      SessionKept,
      () => {
        const { memory, rings, asked } = state.context
        return { leaf: machine.value(state), memory, rings, asked, usable, modes: [...modes], held, still }
      },
      (k) => {
        if (k.rings.length !== VHOST_RINGS || k.modes.length !== VHOST_RINGS) return false
        const { memory, rings } = k
        const asked = { ...k.asked, request: k.asked.request as VhostRequest['type'] }
        const was = stateAt(machine, k.leaf, { offer, memory, rings, asked, transfer: null, saved: false })
        if (was === null) return false
        state = was
        usable = k.usable
        for (const [i, mode] of k.modes.entries()) modes[i] = mode
        held = k.held
        still = k.still
      },
      () => {
        const { transfer, saved } = state.context
        if (transfer !== null || saved) return MOVES
        return inherited !== null || (isThere() && machine.value(state) !== SERVING) ? BUSY : null
      }
    ),
    takes: (stale) => ({
      VHOST_MESSAGE: (i, now) => {
        const { payload, fds, tooManyFds } = vhostMessage(r.ev, i)
        if (stale()) {
          for (const fd of fds) closeFd(r, fd)
          return
        }
        for (const e of vhostEvents({ view: r.view, ...payload }, fds, tooManyFds)) step(e, now)
      },
      VHOST_DONE: (i, now) => {
        step({ type: 'DONE', errno: vhostDone(r.ev, i) }, now)
        if (inherited !== null) feed(inherited.waiting, now)
      },
      VRING_STOPPED: (i, now) => {
        const { ring, index: next } = vringStopped(r.ev, i)
        step({ type: 'VRING_STOPPED', ring, next }, now)
      },
      VRING_BROKEN: (i, now) => {
        const { ring, why: reason, detail } = vringBroken(r.ev, i)
        if (!stale()) step({ type: 'VRING_BROKEN', ring, reason, detail }, now)
      }
    })
  }
}
