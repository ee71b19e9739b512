import { type InAny, showAddr } from '../../codecs/value/inany.js'
import { type Endpoint, type Flow, isPair } from './flow.js'
import { titleOf } from './kinds.js'

// How flows are called in messages and captures (behaviour.md#flow-messages).

/** `Flow 7 (TCP connection)` */
export const flowName = (f: Flow): string => `Flow ${f.index} (${titleOf(f)})`

const end = (a: InAny, port: number): string => `[${showAddr(a)}]:${port}`
const NOT_CHOSEN = '?'
const leadsTo = (side1: Endpoint): string => {
  if (side1.unix !== null) return `${NOT_CHOSEN} -> ${side1.unix.path}`
  const from = side1.src === null ? NOT_CHOSEN : end(side1.src, side1.srcPort)
  return `${from} -> ${end(side1.dst, side1.dstPort)}`
}

/** `TAP [guest]:port -> [peer]:port => HOST ? -> [peer]:port`: who began on the left; `?` is the kernel's choice. */
export const flowEnds = (f: Flow): string => {
  if (isPair(f)) {
    const { side0, side1 } = f
    const pif = (there: boolean): string => (there ? 'SPLICE' : 'HOST')
    const came =
      side0.unix === null
        ? `${end(side0.dst, side0.dstPort)} -> ${end(f.arrival.addr, f.arrival.port)}`
        : `${NOT_CHOSEN} -> ${side0.unix.path}`
    return `${pif(side0.inNamespace)} ${came} => ${pif(side1.inNamespace)} ${leadsTo(side1)}`
  }
  const { arrival } = f
  const guest = end(f.guestAddr, f.guestPort)
  const peer = end(f.ourAddr, f.ourPort)
  const host = end(f.hostAddr, f.hostPort)
  return arrival === null
    ? `TAP ${guest} -> ${peer} => HOST ${NOT_CHOSEN} -> ${host}`
    : `HOST ${host} -> ${end(arrival.addr, arrival.port)} => TAP ${peer} -> ${guest}`
}
