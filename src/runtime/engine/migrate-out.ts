import {
  ExtendedRecord,
  FlowRecord,
  SKIPPED,
  STATE_VERSION,
  StateAddresses,
  StateCount,
  StateHeader
} from '../../codecs/control/migration.js'
import { type InAny, UNSPECIFIED4, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import type { Instant } from '../../effects/effect.js'
import {
  type Closing,
  migrationSourceMachine,
  type SourceEffect,
  type SourceEvent,
  type SourceLoss,
  type SourceReport,
  type SourceWarning
} from '../../machines/link/migration-source.js'
import { type Ends, extendedOf, flowRecordOf } from '../../machines/tcp/tcp-move.js'
import { REPAIR_OFF, REPAIR_ON, STATE_SAVE } from '../abi/abi.js'
import {
  closeFd,
  repair,
  repairClose,
  resetSock,
  stateClose,
  stateOpen,
  stateQueues,
  stateWrite,
  tcpDump,
  tcpFreeze,
  tcpThaw
} from '../abi/effects.js'
import { flowOf, movedErrno, stateWritten, tcpDumped } from '../abi/events.js'
import { txRoom } from '../abi/rings.js'
import { deliver } from '../data/deliver.js'
import type { World } from '../data/world.js'
import type { TcpFlow } from '../flow/flow.js'
import { leafOf } from '../flow/kinds.js'
import { errorText } from '../log/error-text.js'
import { compile } from '../machine/compile.js'

// The guest leaves: machines/link/migration-source.ts decides, native (addon/migrate/) freezes, reads and writes.

export const machine = compile<typeof migrationSourceMachine, SourceEffect>(migrationSourceMachine)

/** Octets that are put into the slab at once. */
const PIECE = 32_768

const WARNINGS: Readonly<Record<SourceWarning, string>> = {
  'no-helper': 'no passt-repair is connected: the guest moves without its connections',
  'helper-failed': 'passt-repair failed: connections that it had not dealt with do not move',
  'pipe-failed': "the guest's state could not be written",
  'pipe-stuck': "nobody reads the guest's state",
  busy: 'one is under way already',
  'not-back': 'no passt-repair to take connections back: they are reset'
}
const LOSSES: Readonly<Record<SourceLoss, string>> = {
  'no-helper': 'without passt-repair',
  'helper-failed': 'passt-repair failed',
  'not-read': 'could not be read',
  ended: 'ended meanwhile'
}
interface Report<K extends string> {
  readonly moved: number
  readonly lost: Readonly<Record<K, number>>
  readonly octets: number
  readonly ms: number
}
/** "6 connections moved, 4 dropped (3 could not be read, 1 ended meanwhile), 718 octets, 9 ms". `more`: behind what was dropped. */
export const reportText = <K extends string>(
  r: Report<K>,
  words: Readonly<Record<K, string>>,
  more = ''
): string => {
  const reasons = (Object.keys(words) as K[]).filter((k) => r.lost[k] > 0)
  const dropped = reasons.reduce((sum, k) => sum + r.lost[k], 0)
  const why = dropped === 0 ? '' : ` (${reasons.map((k) => `${r.lost[k]} ${words[k]}`).join(', ')})`
  return `${r.moved} connections moved, ${dropped} dropped${why}${more}, ${r.octets} octets, ${r.ms.toFixed(0)} ms`
}
const savedText = (r: SourceReport): string =>
  reportText(r, LOSSES, r.stopped === 0 ? '' : `, ${r.stopped} still opening reset`)

/** What a source does beside its flows. */
export interface SourceWays {
  /** CHECK_DEVICE_STATE can be answered. */
  readonly done: (ok: boolean, now: Instant) => void
  /** What the guest sends waits, or no longer: a frozen flow takes nothing. */
  readonly hold: (on: boolean) => void
  /** Its listeners accept, or do not. */
  readonly listeners: (open: boolean) => void
  /** The guest is somewhere else: its client may end; `exit`: so do we. */
  readonly movedAway: (exit: boolean, now: Instant) => void
  /** `step` at the end of the next turn. */
  readonly later: (step: (now: Instant) => void, turns: number) => void
  readonly armed: (at: Instant) => void
}
export interface Source {
  readonly isIdle: () => boolean
  /** While it is idle: has a helper connected? */
  readonly kept: () => boolean
  readonly read: (helper: boolean) => void
  readonly step: (e: SourceEvent) => void
  /** Everything that is open goes along. */
  readonly save: (fd: number, now: Instant) => void
  readonly dumped: (i: number, now: Instant) => void
  readonly written: (i: number, now: Instant) => void
}

/** Turns until all results of what was asked for before are in: one that carries it out, and one for what found no room in the ring. */
export const SETTLING = 2

export const isOpen = (f: TcpFlow): boolean => leafOf(f, f.state.node).startsWith('open.')
export const isOver = (f: TcpFlow): boolean => ['timeWait', 'closed'].includes(leafOf(f, f.state.node))

const endsOf = (f: TcpFlow, own: readonly [InAny, number]): Ends => ({
  host: { own: own[0], ownPort: own[1], peer: f.hostAddr, peerPort: f.hostPort },
  tap: { own: f.ourAddr, ownPort: f.ourPort, peer: f.guestAddr, peerPort: f.guestPort }
})
/** Of each of these connections, in order: its flow record. */
export const flowRecords = (w: World, flows: ReadonlyArray<TcpFlow>): ReadonlyArray<Uint8Array> => {
  const own = w.rings.native.localEnds(Int32Array.from(flows, (f) => f.index))
  return flows.map((f, i) => {
    const [a, b, c, d, port] = own.subarray(i * 5, i * 5 + 5)
    return FlowRecord.encode(flowRecordOf(f.state.context.tcb, endsOf(f, [[a, b, c, d], port])))
  })
}

export const migrationSource = (w: World, exit: boolean, linger: boolean, ways: SourceWays): Source => {
  const r = w.rings
  let state = machine.start({ exit, linger }, [])
  /** Octets in the pipe so far; native counts modulo 2^32. */
  let written = 0
  const flowAt = (index: number): TcpFlow | null => {
    const f = w.flows[index]
    return f?.kind === 'tcp' ? f : null
  }
  const each = (flows: readonly number[], act: (f: TcpFlow) => void): void => {
    for (const index of flows) {
      const f = flowAt(index)
      if (f !== null) act(f)
    }
  }
  const write = (all: ReadonlyArray<Uint8Array>): void => {
    for (let i = 0; i < all.length; ) {
      let len = 0
      let to = i
      while (to < all.length && (to === i || len + all[to].length <= PIECE)) len += all[to++].length
      let at = txRoom(r, len)
      stateWrite(r, { off: at, len })
      for (; i < to; i++) {
        r.slab.set(all[i], at)
        at += all[i].length
      }
    }
  }
  const close = (f: TcpFlow, how: Closing, now: Instant): void => {
    if (how === 'reset-guest') return deliver(w, f, { type: 'STOP', now })
    if (how === 'reset-peer') resetSock(r, f.index)
    deliver(w, f, { type: 'MOVED_AWAY', now })
  }
  const carryOut = (e: SourceEffect, now: Instant): void => {
    switch (e.type) {
      case 'ArmDeadline':
        return ways.armed(e.at)
      case 'Freeze':
        each(e.flows, (f) => {
          f.held = true
          tcpFreeze(r, f.index)
        })
        return ways.later((at) => step({ type: 'SETTLED', now: at }), SETTLING)
      case 'Halt':
        return each(e.flows, (f) => deliver(w, f, { type: 'FROZEN', now }, false))
      case 'Thaw':
        return each(e.flows, (f) => {
          f.held = false
          tcpThaw(r, f.index)
          deliver(w, f, { type: 'THAWED', now })
        })
      case 'Stop':
        return each(e.flows, (f) => deliver(w, f, { type: 'STOP', now }))
      case 'CloseFlows':
        return each(e.flows, (f) => close(f, e.how, now))
      case 'Repair':
        // Of a batch that has ended by itself there is nothing to ask
        if (e.flows.length === 0) return ways.later((at) => step({ type: 'REPAIRED', errno: 0, now: at }), 1)
        return repair(r, e.flows, e.on ? REPAIR_ON : REPAIR_OFF)
      case 'RepairClose':
        return repairClose(r)
      case 'StateOpen':
        ways.hold(true)
        return stateOpen(r, e.fd, STATE_SAVE)
      case 'WritePrelude': {
        const { v4, v6, linkLocal6, mac } = w.guest
        return write([
          StateHeader.encode({ version: STATE_VERSION, compatible: STATE_VERSION }),
          StateAddresses.encode({
            v6: v6 ?? UNSPECIFIED6,
            linkLocal: linkLocal6 ?? UNSPECIFIED6,
            v4: v4 ?? UNSPECIFIED4,
            mac
          }),
          StateCount.encode(e.flows)
        ])
      }
      case 'WriteFlows': {
        const flows = e.flows.map((index) => {
          const f = flowAt(index)
          if (f === null) throw new Error(`flow ${index} has ended`)
          return f
        })
        return write(flowRecords(w, flows))
      }
      case 'Dump':
        return tcpDump(r, e.flow)
      case 'WriteSocket':
        write([ExtendedRecord.encode(e.extended)])
        return stateQueues(r, e.flow)
      case 'WriteSkipped':
        return write(Array.from({ length: e.flows }, () => ExtendedRecord.encode(SKIPPED)))
      case 'StateClose':
        return stateClose(r, e.now)
      case 'CloseFd':
        return closeFd(r, e.fd)
      case 'Listeners':
        return ways.listeners(e.open)
      case 'TransferDone':
        return ways.done(e.ok, now)
      case 'ReportSaved':
        w.log.event(
          'migration',
          'info',
          `migration: ${e.back ? 'taken back, the guest stays: ' : ''}${savedText(e.report)}`,
          e.back ? [] : ['Migration complete']
        )
        return e.back ? ways.hold(false) : undefined
      case 'MovedAway':
        return ways.movedAway(e.exit, now)
      case 'WarnSave':
        return w.log.event('migration', 'warning', `migration: ${WARNINGS[e.what]}`)
    }
  }
  const step = (e: SourceEvent): void => {
    const effects: SourceEffect[] = []
    state = machine.step(state, e, effects)
    for (const one of effects) carryOut(one, e.now)
  }
  return {
    step,
    isIdle: () => machine.value(state) === 'idle',
    kept: () => state.context.helper,
    read: (helper) => {
      state = { ...state, context: { ...state.context, helper } }
    },
    save: (fd, now) => {
      const all = w.flows.filter((f): f is TcpFlow => f?.kind === 'tcp' && !isOver(f))
      const moving = all.filter(isOpen).map((f) => f.index)
      const stopping = all.filter((f) => !isOpen(f)).map((f) => f.index)
      written = 0
      step({ type: 'SAVE', fd, moving, stopping, now })
    },
    written: (i, now) => {
      written += (stateWritten(r.ev, i) - written) >>> 0
      step({ type: 'WRITTEN', octets: written, now })
    },
    dumped: (i, now) => {
      const flow = flowOf(r.ev, i)
      const f = flowAt(flow)
      const errno = movedErrno(r.ev, i)
      if (errno !== 0) w.log.at('debug', `migration: flow ${flow} cannot be read: ${errorText(errno)}`)
      const read = errno === 0 && f !== null
      const extended = read ? extendedOf(tcpDumped(r.ev, r.view, i), f.state.context.tcb) : null
      step({ type: 'DUMPED', flow, extended, now })
    }
  }
}
