import {
  endState,
  type FlowRecord,
  NEW_READER,
  type QueueName,
  readState,
  type StateAddresses,
  type StateEvent,
  type StateReader
} from '../../codecs/control/migration.js'
import { type InAny, isUnspecified, isV4 } from '../../codecs/value/inany.js'
import { BROADCAST_MAC, ZERO_MAC } from '../../codecs/wire/ethernet.js'
import type { Instant } from '../../effects/effect.js'
import type { Restoring } from '../../effects/hand-over.js'
import { type MovedEnds, mayCome } from '../../machines/address/moved-ends.js'
import {
  migrationTargetMachine,
  type TargetEffect,
  type TargetEvent,
  type TargetFault,
  type TargetLoss
} from '../../machines/link/migration-target.js'
import { endsOf, movedOf, resetOf, restoringOf } from '../../machines/tcp/tcp-move.js'
import { QUEUE_RECV, QUEUE_SEND, QUEUE_UNSENT, REPAIR_OFF, REPAIR_ON, STATE_LOAD } from '../abi/abi.js'
import {
  closeFd,
  repair,
  repairClose,
  stateClose,
  stateNext,
  stateOpen,
  tcpRestore,
  tcpRestoreEnd,
  tcpRestoreOpen,
  tcpRestoreQueue,
  tcpRun
} from '../abi/effects.js'
import { flowOf, movedErrno, stateOctets } from '../abi/events.js'
import { deliver } from '../data/deliver.js'
import { findFlow, openFlow } from '../data/open-flow.js'
import type { World } from '../data/world.js'
import { segmentToTap } from '../data/write-effect.js'
import type { FlowAddresses, TcpFlow } from '../flow/flow.js'
import { protoOf } from '../flow/kinds.js'
import { errorText } from '../log/error-text.js'
import { compile } from '../machine/compile.js'
import { reportText } from './migrate-out.js'

// A guest comes: machines/link/migration-target.ts decides, native (addon/migrate/) reads, and makes sockets.

export const machine = compile<typeof migrationTargetMachine, TargetEffect>(migrationTargetMachine)

const QUEUES: Readonly<Record<QueueName, number>> = {
  sent: QUEUE_SEND,
  unsent: QUEUE_UNSENT,
  received: QUEUE_RECV
}
const LOSSES: Readonly<Record<TargetLoss, string>> = {
  'not-allowed': 'not allowed by the options here',
  'no-room': 'no room',
  'not-sent': 'not sent by the source',
  'not-restored': 'could not be restored',
  'helper-failed': 'passt-repair failed'
}
const faultText = (f: TargetFault): string => {
  switch (f.kind) {
    case 'stream':
      return f.text
    case 'pipe':
      return errorText(f.errno)
    case 'stuck':
      return 'nothing more comes'
    case 'no-helper':
      return 'there are connections, and no passt-repair is connected'
    case 'helper-failed':
      return 'passt-repair failed'
    case 'gone':
      return 'the client is gone'
  }
}

export interface TargetWays {
  readonly done: (ok: boolean, now: Instant) => void
  /** What the guest sends waits, or no longer. */
  readonly hold: (on: boolean) => void
  readonly later: (step: (now: Instant) => void, turns: number) => void
  readonly armed: (at: Instant) => void
  /** The helper is wanted by somebody else as soon as we are done. */
  readonly sharesHelper: () => boolean
  /** Connections run, or are lost. */
  readonly over: (now: Instant) => void
}
export interface Target {
  readonly isIdle: () => boolean
  /** While it is idle: has a helper connected, and has it failed? */
  readonly kept: () => { readonly helper: boolean; readonly failed: boolean }
  readonly read: (k: ReturnType<Target['kept']>) => void
  readonly step: (e: TargetEvent) => void
  readonly octets: (i: number, now: Instant) => void
  readonly ended: (errno: number, now: Instant) => void
  readonly restored: (i: number, now: Instant) => void
  readonly flowEnded: (index: number) => void
}

/** A connection of the stream, by its place there. */
interface Coming {
  readonly record: FlowRecord
  readonly ends: FlowAddresses | null
  /** -1: it is lost. */
  flow: number
  restoring: Restoring | null
}

const addressesOf = (w: World, e: MovedEnds): FlowAddresses => ({
  v6: !isV4(e.tap.own),
  guestMac: BROADCAST_MAC,
  ourMac: w.cfg.guest.macOf(e.tap.own),
  guestAddr: e.tap.peer,
  guestPort: e.tap.peerPort,
  ourAddr: e.tap.own,
  ourPort: e.tap.ownPort,
  hostAddr: e.host.peer,
  hostPort: e.host.peerPort,
  arrival: e.fromHost ? { listener: -1, addr: e.host.own, port: e.host.ownPort, scope: 0, slot: -1 } : null
})

/** Of the host, that lead to the guest. */
const portsOf = (w: World): ReadonlySet<number> => {
  const ports = new Set<number>()
  for (const { rule, port } of w.listeners.values())
    if (rule.proto === 'tcp' && rule.direction === 'in') ports.add(port)
  return ports
}

export const migrationTarget = (w: World, ways: TargetWays): Target => {
  const r = w.rings
  let state = machine.start(undefined, [])
  let reader: StateReader = NEW_READER
  let coming: Coming[] = []
  /** Place in the stream of each flow that came. */
  const places = new Map<number, number>()
  let ports: ReadonlySet<number> = new Set()
  /** The helper is of no use any more. */
  let failed = false
  const flowOfPlace = (index: number): TcpFlow | null => {
    const f = w.flows[coming[index]?.flow ?? -1]
    return f?.kind === 'tcp' ? f : null
  }
  const some = (from: number, to: number): TcpFlow[] => {
    const list: TcpFlow[] = []
    for (let index = from; index < to; index++) {
      const f = flowOfPlace(index)
      if (f !== null) list.push(f)
    }
    return list
  }
  /** Told of once; its flow ends without a word. */
  const lose = (index: number, why: TargetLoss, now: Instant): void => {
    const c = coming[index]
    const f = flowOfPlace(index)
    if (f !== null) {
      places.delete(f.index)
      c.flow = -1
      deliver(w, f, { type: 'MOVED_AWAY', now })
    }
    ways.later((at) => step({ type: 'LOST', index, why, now: at }), 0)
  }
  const forget = (): void => {
    places.clear()
    coming = []
  }
  const enter = (index: number, record: FlowRecord, now: Instant): void => {
    const sides = endsOf(record)
    const ends = sides === null ? null : addressesOf(w, sides)
    const c: Coming = { record, ends, flow: -1, restoring: null }
    coming[index] = c
    const moved = movedOf(record)
    if (sides === null || ends === null || typeof moved === 'string') return lose(index, 'not-restored', now)
    if (!mayCome(w.cfg, sides, (port) => ports.has(port))) return lose(index, 'not-allowed', now)
    const opening = { kind: 'tcp', ends, syn: null, moved } as const
    // One that moved away from here, and comes back
    const old = findFlow(w, protoOf(opening), ends.guestAddr, ends.guestPort, ends.ourAddr, ends.ourPort)
    if (old?.kind === 'tcp') deliver(w, old, { type: 'MOVED_AWAY', now })
    const f = openFlow(w, opening, now)
    if (typeof f === 'string') return lose(index, f === 'policy' ? 'not-allowed' : 'no-room', now)
    c.flow = f.index
    places.set(f.index, index)
    f.sockOpen = true
    w.quotas.accepted(f.index)
    tcpRestoreOpen(r, f.index, ends.v6, ends.arrival === null)
  }
  const learn = (a: StateAddresses): void => {
    const known = (addr: InAny, before: InAny | null): InAny | null => (isUnspecified(addr) ? before : addr)
    w.guest.v4 = known(a.v4, w.guest.v4)
    w.guest.v6 = known(a.v6, w.guest.v6)
    w.guest.linkLocal6 = known(a.linkLocal, w.guest.linkLocal6)
    if (a.mac !== ZERO_MAC) w.guest.mac = a.mac
  }
  const carryOut = (e: TargetEffect, now: Instant): void => {
    switch (e.type) {
      case 'ArmDeadline':
        return ways.armed(e.at)
      case 'StateOpen':
        reader = NEW_READER
        forget()
        ports = portsOf(w)
        failed = false
        ways.hold(true)
        return stateOpen(r, e.fd, STATE_LOAD)
      case 'StateNext':
        return stateNext(r, e.most)
      case 'StateClose':
        return stateClose(r, true)
      case 'CloseFd':
        return closeFd(r, e.fd)
      case 'Enter':
        return enter(e.index, e.flow, now)
      case 'RepairSome': {
        const flows = some(e.from, e.to)
        if (flows.length === 0) return ways.later((at) => step({ type: 'REPAIRED', errno: 0, now: at }), 1)
        return repair(
          r,
          flows.map((f) => f.index),
          e.on ? REPAIR_ON : REPAIR_OFF
        )
      }
      case 'RepairClose':
        return failed || !ways.sharesHelper() ? repairClose(r) : undefined
      case 'Restore': {
        const f = flowOfPlace(e.index)
        if (f === null) return
        const c = coming[e.index]
        const restoring = restoringOf(c.record, e.extended)
        if (typeof restoring === 'string') {
          w.log.at('debug', `migration: connection ${e.index}: ${restoring}`)
          return lose(e.index, 'not-restored', now)
        }
        c.restoring = restoring
        return tcpRestore(r, f.index, restoring.socket)
      }
      case 'RestoreQueue': {
        const f = flowOfPlace(e.index)
        if (f !== null && e.octets.len > 0)
          tcpRestoreQueue(r, f.index, { off: e.octets.off, len: e.octets.len }, QUEUES[e.which])
        return
      }
      case 'RestoreEnd': {
        const f = flowOfPlace(e.index)
        if (f !== null) tcpRestoreEnd(r, f.index, coming[e.index].restoring?.shutInRepair === true)
        return
      }
      case 'Run':
        for (const f of some(e.from, e.to)) {
          const how = coming[places.get(f.index) ?? -1]?.restoring
          tcpRun(r, f.index, how?.shutAtRun === true, how?.peekOffset ?? 0)
        }
        return
      case 'Skip':
        return lose(e.index, 'not-sent', now)
      case 'DropSome':
        failed = true
        for (let index = e.from; index < e.to; index++)
          if (flowOfPlace(index) !== null) lose(index, e.why, now)
        return ways.later((at) => step({ type: 'DROPPED', now: at }), 0)
      case 'DropAll':
        for (const f of some(0, coming.length)) {
          places.delete(f.index)
          deliver(w, f, { type: 'MOVED_AWAY', now })
        }
        return forget()
      case 'Learn':
        return learn(e.addresses)
      case 'ResetGuest':
        for (const index of e.indexes) {
          const { ends, record } = coming[index]
          if (ends === null) continue
          segmentToTap(w.out, ends, {
            ...resetOf(record),
            srcPort: ends.ourPort,
            dstPort: ends.guestPort,
            wnd: 0,
            urgent: 0,
            mss: null,
            windowScale: null
          })
        }
        return forget()
      case 'TransferDone':
        if (!e.ok) ways.hold(false)
        else if (w.guest.up) ways.later((at) => step({ type: 'GUEST_UP', now: at }), 0)
        return ways.done(e.ok, now)
      case 'ReportLoaded':
        ways.hold(false)
        w.log.event('migration', 'info', `migration: ${reportText(e.report, LOSSES)}`)
        return ways.over(now)
      case 'LoadFailed':
        return w.log.event('migration', 'error', `migration: no state was loaded: ${faultText(e.why)}`)
    }
  }
  const step = (e: TargetEvent): void => {
    const effects: TargetEffect[] = []
    state = machine.step(state, e, effects)
    for (const one of effects) carryOut(one, e.now)
  }
  return {
    step,
    isIdle: () => machine.value(state) === 'idle',
    kept: () => ({ helper: state.context.helper, failed }),
    read: (k) => {
      state = { ...state, context: { ...state.context, helper: k.helper } }
      failed = k.failed
    },
    octets: (i, now) => {
      const piece = stateOctets(r.ev, i)
      const emit = (e: StateEvent): void => step({ ...e, now })
      const next = readState(reader, { view: r.view, ...piece }, emit)
      if (typeof next === 'string') return step({ type: 'FAULTY', text: next, now })
      reader = next
      step({ type: 'PIECE', octets: piece.len, now })
    },
    ended: (errno, now) => {
      const cut = errno === 0 ? endState(reader) : null
      if (cut !== null) step({ type: 'FAULTY', text: cut, now })
      step({ type: 'STATE_ENDED', errno, now })
    },
    restored: (i, now) => {
      const index = places.get(flowOf(r.ev, i))
      const f = index === undefined ? null : flowOfPlace(index)
      if (index === undefined || f === null) return
      const errno = movedErrno(r.ev, i)
      const how = coming[index].restoring
      if (errno !== 0 || how === null) {
        w.log.at('debug', `migration: connection ${index}: ${errorText(errno)}`)
        return lose(index, 'not-restored', now)
      }
      const { unacked, unread, ended } = how
      deliver(w, f, { type: 'SOCK_RESTORED', taken: unacked, unacked, unread, ended, dark: true, now }, false)
    },
    flowEnded: (flow) => {
      const index = places.get(flow)
      if (index === undefined) return
      places.delete(flow)
      coming[index].flow = -1
      ways.later((at) => step({ type: 'LOST', index, why: 'not-restored', now: at }), 0)
    }
  }
}
