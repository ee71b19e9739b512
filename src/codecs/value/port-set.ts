/** Set of port numbers 0..65535, one bit each: word p >>> 5, bit p & 31. Not changed once handed out. */
export type PortSet = Uint32Array

const WORDS = 2048

export const emptyPorts = (): PortSet => new Uint32Array(WORDS)
export const portSet = (ports: Iterable<number>): PortSet => {
  const s = emptyPorts()
  for (const p of ports) addPort(s, p)
  return s
}
/** Changes `s`, so only while it is being built. */
export const addPort = (s: PortSet, p: number): void => {
  s[p >>> 5]! |= 1 << (p & 31)
}
/** The same. */
export const removePort = (s: PortSet, p: number): void => {
  s[p >>> 5]! &= ~(1 << (p & 31))
}
export const hasPort = (s: PortSet, p: number): boolean => ((s[p >>> 5]! >>> (p & 31)) & 1) === 1

export const unionPorts = (...sets: ReadonlyArray<PortSet>): PortSet => {
  const out = emptyPorts()
  for (const s of sets) for (let i = 0; i < WORDS; i++) out[i]! |= s[i]!
  return out
}
/** In `a`, not in `b`. */
export const minusPorts = (a: PortSet, b: PortSet): PortSet => {
  const out = emptyPorts()
  for (let i = 0; i < WORDS; i++) out[i] = a[i]! & ~b[i]!
  return out
}
export const samePorts = (a: PortSet, b: PortSet): boolean => {
  for (let i = 0; i < WORDS; i++) if (a[i] !== b[i]) return false
  return true
}

/** Ascending, first..last included. Costs one look at 32 absent ports. */
export const portsIn = (s: PortSet, first = 0, last = 65535): number[] => {
  const out: number[] = []
  for (let w = first >>> 5; w <= last >>> 5; w++) {
    let bits = s[w]!
    while (bits !== 0) {
      const bit = 31 - Math.clz32(bits & -bits)
      bits &= bits - 1
      const p = w * 32 + bit
      if (p >= first && p <= last) out.push(p)
    }
  }
  return out
}
