import { add } from '../../codecs/value/seq.js'
import { ACK } from '../../codecs/wire/tcp.js'
import { instant } from '../../effects/effect.js'
import * as owed from './tcb-ack.js'
import { setRoom } from './tcb-peer.js'
import { told } from './tcb-rcv.js'
import * as rtx from './tcb-rtx.js'
import * as snd from './tcb-snd.js'
import * as wake from './tcb-wake.js'
import { ackNumber, edgeOf, targetEdge, windowField } from './tcp-ack.js'
import type { Draft, Out } from './tcp-tcb.js'

// Timers fire when they were armed for, or for nothing: a deadline in the block decides, so a spurious one is harmless.

type Now = { readonly now: number }

/** RFC 6298 (5.4) to (5.6), or a window probe (RFC 9293 §3.8.6.1). What is due goes at the end of the turn. */
export const rtoFired = (d: Draft, { now }: Now): void => {
  rtx.fired(d)
  if (!rtx.rtoDue(d, now)) return
  snd.timedOut(d, d.mss)
  rtx.untime(d)
  rtx.timedOut(d, now)
  wake.tapFree(d)
}

/** Data that should have carried the ACK did not come; or time to ask the socket; or to try the tap again. */
export const ackFired = (d: Draft, { now }: Now): void => {
  wake.fired(d)
  if (d.ackAt > 0 && now >= d.ackAt) owed.waitOver(d)
  if (d.pollAt > 0 && now >= d.pollAt) {
    wake.pollDue(d)
    if (d.room === 'poor') setRoom(d, 'unknown')
  }
  if (d.tapAt > 0 && now >= d.tapAt) wake.tapFree(d)
}

/**
 * Every KEEPALIVE of silence: an empty segment one octet back (RFC 1122 §4.2.3.6); who forgot us answers RST
 * (#regression-84).
 */
export const keepaliveFired = (d: Draft, { now }: Now, out: Out<'SegmentToTap' | 'ArmTimer'>): void => {
  const silent = now - d.tapAliveAt >= wake.KEEPALIVE
  if (silent) {
    const ack = ackNumber(d)
    const wnd = windowField(d, ack, targetEdge(d))
    told(d, ack, edgeOf(d, ack, wnd))
    out.push({
      type: 'SegmentToTap',
      seq: add(d.sndMax, -1),
      ack,
      flags: ACK,
      wnd,
      mss: null,
      windowScale: null
    })
  }
  const at = instant((silent ? now : d.tapAliveAt) + wake.KEEPALIVE)
  out.push({ type: 'ArmTimer', timer: 'keepalive', at })
}

export const idleFired = (d: Draft, _: Now, out: Out<'ArmTimer'>): void => {
  out.push({ type: 'ArmTimer', timer: 'idle', at: instant(wake.idleAt(d)) })
}

export const armAll = (d: Draft, { now }: Now, out: Out<'ArmTimer'>): void => {
  out.push({ type: 'ArmTimer', timer: 'keepalive', at: instant(now + wake.KEEPALIVE) })
  idleFired(d, { now }, out)
}
export const armTimeWait = (d: Draft, { now }: Now, out: Out<'ArmTimer'>): void => {
  wake.allDone(d, now)
  idleFired(d, { now }, out)
}
/** A flow's index is used again: nothing of it may fire later. */
export const cancelAll = (d: Draft, _: unknown, out: Out<'CancelTimer'>): void => {
  if (d.rtoArmed > 0) out.push({ type: 'CancelTimer', timer: 'rto' })
  if (d.ackArmed > 0) out.push({ type: 'CancelTimer', timer: 'ack' })
  out.push({ type: 'CancelTimer', timer: 'keepalive' })
  out.push({ type: 'CancelTimer', timer: 'idle' })
}
