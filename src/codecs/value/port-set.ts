/** Set of port numbers 0..65535, one bit each: word p >>> 5, bit p & 31. Not changed once handed out. */
export type PortSet = Uint32Array

const WORDS = 2048

/** None; of those who change nothing. Known by itself, so that who has none need not look at 2048 words: most have none. */
export const NO_PORTS: PortSet = new Uint32Array(WORDS)
export const emptyPorts = (): PortSet => new Uint32Array(WORDS)
export const portSet = (ports: ReadonlyArray<number>): PortSet => {
  if (ports.length === 0) return NO_PORTS
  const s = emptyPorts()
  for (const p of ports) addPort(s, p)
  return s
}
/** Of word `w`, the bits of first..last. */
const maskOf = (w: number, first: number, last: number): number =>
  (w === first >>> 5 ? -1 << (first & 31) : -1) & (w === last >>> 5 ? -1 >>> (31 - (last & 31)) : -1)

/** Changes `s`, so only while it is being built. */
export const addPort = (s: PortSet, p: number): void => {
  s[p >>> 5]! |= 1 << (p & 31)
}
/** The same. */
export const removePort = (s: PortSet, p: number): void => {
  s[p >>> 5]! &= ~(1 << (p & 31))
}
/** The same; first..last included. */
export const addPorts = (s: PortSet, first: number, last: number): void => {
  for (let w = first >>> 5; w <= last >>> 5; w++) s[w]! |= maskOf(w, first, last)
}
export const hasPort = (s: PortSet, p: number): boolean => ((s[p >>> 5]! >>> (p & 31)) & 1) === 1

export const unionPorts = (...sets: ReadonlyArray<PortSet>): PortSet => {
  const [first = NO_PORTS, ...rest] = sets.filter((s) => s !== NO_PORTS)
  if (rest.length === 0) return first
  const out = first.slice()
  for (const s of rest) for (let i = 0; i < WORDS; i++) out[i]! |= s[i]!
  return out
}
/** In `a`, not in `b`. */
export const minusPorts = (a: PortSet, b: PortSet): PortSet => {
  if (a === NO_PORTS || b === NO_PORTS) return a
  const out = emptyPorts()
  let any = 0
  for (let i = 0; i < WORDS; i++) any |= out[i] = a[i]! & ~b[i]!
  return any === 0 ? NO_PORTS : out
}
export const samePorts = (a: PortSet, b: PortSet): boolean => {
  for (let i = 0; i < WORDS; i++) if (a[i] !== b[i]) return false
  return true
}

/** Ascending, first..last included. Costs one look at 32 absent ports. */
export const portsIn = (s: PortSet, first = 0, last = 65535): number[] => {
  const out: number[] = []
  if (s === NO_PORTS) return out
  for (let w = first >>> 5; w <= last >>> 5; w++) pushBits(out, w, s[w]! & maskOf(w, first, last))
  return out
}
/** Of first..last, those that are not in `s`; in the same way. */
export const portsNotIn = (s: PortSet, first: number, last: number): number[] => {
  const out: number[] = []
  for (let w = first >>> 5; w <= last >>> 5; w++) pushBits(out, w, ~s[w]! & maskOf(w, first, last))
  return out
}
const pushBits = (out: number[], w: number, of: number): void => {
  for (let bits = of; bits !== 0; bits &= bits - 1) out.push(w * 32 + 31 - Math.clz32(bits & -bits))
}
