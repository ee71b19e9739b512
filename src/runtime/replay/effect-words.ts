import { type InAny, showAddr } from '../../codecs/value/inany.js'
import { showFlags } from '../observe/trace.js'

// What a machine asks for, in words.

const isRecord = (u: unknown): u is Readonly<Record<string, unknown>> => typeof u === 'object' && u !== null
const isAddr = (u: unknown): u is InAny =>
  Array.isArray(u) && u.length === 4 && u.every((w) => typeof w === 'number')

/** `now`: ms; instants are told from there. */
const word = (key: string, v: unknown, now: number): string => {
  if (typeof v === 'number') {
    if (key === 'flags') return ` ${showFlags(v)}`
    if (key === 'seq' || key === 'ack') return ` ${key} ${v >>> 0}`
    if (key === 'at') return v === Number.POSITIVE_INFINITY ? ' never' : ` in ${(v - now).toFixed(3)} ms`
    return ` ${key} ${v}`
  }
  if (v === null || v === undefined || v === false) return ''
  if (v === true) return ` ${key}`
  if (typeof v === 'string') return ` ${v}`
  if (isAddr(v)) return ` ${key} ${showAddr(v)}`
  if (ArrayBuffer.isView(v)) return ` ${key} of ${v.byteLength} octets`
  if (isRecord(v) && typeof v.off === 'number' && typeof v.len === 'number') return ` ${v.len} octets`
  return ` ${key}`
}
/** 'SegmentToTap seq 1 ack 7 [S.] wnd 65535 mss 1460' */
export const effectWords = (effect: unknown, now: number): string =>
  isRecord(effect)
    ? String(effect.type) +
      Object.entries(effect)
        .filter(([k]) => k !== 'type')
        .map(([k, v]) => word(k, v, now))
        .join('')
    : String(effect)
