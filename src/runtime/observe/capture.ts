import { writeSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { LINKTYPE_ETHERNET, PCAP_ETHERNET, PcapHeader } from '../../codecs/log/pcap.js'
import { PcapngBlock } from '../../codecs/log/pcapng.js'
import { Places } from '../../codecs/log/written.js'
import { EFBIG } from '../../codecs/value/errno.js'
import type { Native } from '../abi/abi.js'
import { captureNote } from '../abi/effects.js'
import { captureTrouble } from '../abi/events.js'
import { type Rings, txRoom } from '../abi/rings.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { type Flow, isPair } from '../flow/flow.js'
import { flowEnds, flowName } from '../flow/flow-text.js'
import { keeping } from '../flow/keeps.js'
import { reasonText } from '../log/error-text.js'
import { count, type Log } from '../log/log.js'

/** ns: native stamps blocks so. */
const RESOLUTION = 9

const header = (application: string, ifname: string, ng: boolean): Uint8Array => {
  if (!ng) return PcapHeader.encode(PCAP_ETHERNET)
  const parts = [
    PcapngBlock.encode({ type: 'Section', application }),
    PcapngBlock.encode({
      type: 'Interface',
      linkType: LINKTYPE_ETHERNET,
      snapLen: PCAP_ETHERNET.snapLen,
      name: ifname,
      resolution: RESOLUTION
    })
  ]
  return Uint8Array.from(parts.flatMap((p) => [...p]))
}

const utf8 = new TextEncoder()

/** Comments on the first frame of each flow: who it is, and what it is translated to. Only pcapng has a place for them. */
export const flowComments = (r: Rings): Pick<Feature, 'flowBegan' | 'sending' | 'keeps'> => {
  /** Flows whose first frame is one of ours, still to come. */
  const owed = new Set<number>()
  const note = (f: Flow, off: number): void => {
    const b = utf8.encode(`${flowName(f)}: ${flowEnds(f)}`)
    const to = txRoom(r, b.length)
    r.slab.set(b, to)
    captureNote(r, to, b.length, off)
  }
  return {
    keeps: keeping(
      Places,
      () => [...owed],
      (indices) => {
        for (const i of indices) owed.add(i)
      }
    ),
    flowBegan: (f, off) => {
      if (isPair(f)) return
      owed.delete(f.index)
      if (f.arrival === null) note(f, off)
      else owed.add(f.index)
    },
    sending: (f) => {
      if (owed.delete(f.index)) note(f, 0)
    }
  }
}

/**
 * The file of --pcap, made or emptied, mode 0600, its header written; pcapng if the name ends so. `size`: octets that it may
 * have, its header included; null: any. `application`: who writes it. A capture that cannot be written is reported, and does not stop the rest. Returns its
 * descriptor, or -1.
 */
export const openCapture = (
  native: Native,
  path: string,
  size: number | null,
  application: string,
  ifname: string,
  log: Log
): number => {
  try {
    const fd = native.openOutput(path, false)
    const ng = isPcapng(path)
    const head = header(application, ifname, ng)
    writeSync(fd, head)
    native.setPcap(fd, ng, size === null ? 0 : size - head.length)
    return fd
  } catch (e) {
    log.at('error', `cannot write the capture ${path}: ${reasonText(e)}`)
    return -1
  }
}

export const isPcapng = (path: string): boolean => path.endsWith('.pcapng')

/** EV.CAPTURE */
const onCapture = (w: World, record: number): void => {
  const { errno, missing } = captureTrouble(w.rings.ev, record)
  if (missing > 0) {
    count(w.counters, 'capture-missed', missing)
    w.log.event('capture', 'warning', `capture: ${missing} frames are missing, nobody reads it fast enough`)
  }
  // --pcap-size, or a limit of the kernel's
  if (errno === EFBIG) w.log.at('warning', 'capture ended: no room for the next frame; traffic goes on')
  else if (errno !== 0) w.log.at('error', `capture ended: ${getSystemErrorName(-errno)}; traffic goes on`)
}

/** The capture has ended, or misses something; and its comments, where it takes some. */
export const capture = (w: World, path: string): Feature => ({
  name: 'capture',
  keeps: null,
  takes: { CAPTURE: (i) => onCapture(w, i) },
  ...(isPcapng(path) ? flowComments(w.rings) : {})
})
