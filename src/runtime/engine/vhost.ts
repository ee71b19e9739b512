import { VhostReply } from '../../codecs/control/vhost-user.js'
import type { Instant } from '../../effects/effect.js'
import { vhostEvents } from '../../machines/link/vhost-events.js'
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
  VRING_BAD_ADDRESS,
  VRING_BAD_INDEX,
  VRING_BAD_INDIRECT,
  VRING_BAD_LENGTH,
  VRING_BAD_MEMORY,
  VRING_BAD_ORDER,
  VRING_CALL,
  VRING_DISCARD,
  VRING_ERR,
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
import { errorText } from '../log/error-text.js'
import { compile } from '../machine/compile.js'
import { carryOutService } from '../services/serve.js'
import type { Migration } from './migrate.js'

// A vhost-user session: machines/link/vhost-session.ts decides, native (addon/vhost/) reads messages, maps memory and walks rings.

export const machine = compile<typeof vhostSessionMachine, VhostEffect>(vhostSessionMachine)

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

/** What the guest link has of it. */
export interface VhostSession {
  /** A client's session begins, in place of another one's if there is one. */
  readonly connected: (now: Instant) => void
  readonly disconnected: (now: Instant) => void
  /** `stale`: records are of a client that was replaced in this turn. */
  readonly takes: (stale: () => boolean) => Feature['takes']
}

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
  const runRing = (ring: number): void =>
    vringRun(r, ring, held && ring === VRING_TX ? VRING_OFF : modes[ring])
  const hold = (on: boolean): void => {
    held = on
    runRing(VRING_TX)
  }
  const carryOut = (e: VhostEffect, now: Instant): void => {
    switch (e.type) {
      case 'VhostDealt':
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
        return broken(words(e.why), now)
    }
  }
  const step = (e: VhostEvent, now: Instant): void => {
    const effects: VhostEffect[] = []
    state = machine.step(state, e, effects)
    for (const one of effects) carryOut(one, now)
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
    },
    disconnected,
    takes: (stale) => ({
      VHOST_MESSAGE: (i, now) => {
        const { payload, fds, tooManyFds } = vhostMessage(r.ev, i)
        if (stale()) {
          for (const fd of fds) closeFd(r, fd)
          return
        }
        for (const e of vhostEvents({ view: r.view, ...payload }, fds, tooManyFds)) step(e, now)
      },
      VHOST_DONE: (i, now) => step({ type: 'DONE', errno: vhostDone(r.ev, i) }, now),
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
