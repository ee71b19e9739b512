import * as t from 'io-ts'
import { Place, Places } from '../../codecs/log/written.js'
import type { InAny } from '../../codecs/value/inany.js'
import { type HashKey, halfSipHash24 } from './half-sip-hash.js'

/** behaviour.md#flow-table: as many flows as upstream holds. */
export const MAX_FLOWS = 0x1ffff

/**
 * Which flow a packet belongs to. Every operation takes constant time, a look-up allocates nothing, no operation walks
 * over all flows. An index stays what it is for the life of its flow, and is native's handle.
 */
export interface FlowTable {
  /** Flows that a look-up can find. */
  readonly size: number
  /** Index of the open flow with this guest side, or -1. Any values may be asked for (#regression-40). */
  find(proto: number, src: InAny, srcPort: number, dst: InAny, dstPort: number): number
  /** A new flow's index; -1 when the table is full. The caller has asked `find` before. */
  insert(proto: number, src: InAny, srcPort: number, dst: InAny, dstPort: number): number
  /**
   * Take the host side (peer, and our own port) for an open flow, until it is closed. False: another flow has it, so that
   * what comes back could not be told apart; let the kernel choose another port then. Different guest-side addresses may
   * stand for one host address (nat.ts), and a guest may have several addresses.
   */
  claim(index: number, proto: number, hostAddr: InAny, hostPort: number, ourPort: number): boolean
  /** The flow that has claimed this host side, or -1. */
  claimed(proto: number, hostAddr: InAny, hostPort: number, ourPort: number): number
  /** Never found again from here on (#regression-16); both sides are free to be taken. Closing twice is nothing. */
  close(index: number): void
  /**
   * End of a turn: indices of flows closed before the last sweep can be used again. One turn in between, so that no
   * event still under way for a closed flow meets its successor; and never while a packet is handled (#regression-27).
   */
  sweep(): void
  /** Which places are free, and in what order they are given away: between two turns. */
  kept(): TableKept
  /** Of an empty table. False: that is of no table of this size. Then `put` all that is open, and `claim`. */
  read(k: TableKept): boolean
  /** What `insert` does, at this place. False: it is no place for it, or another flow has these addresses. */
  put(index: number, proto: number, src: InAny, srcPort: number, dst: InAny, dstPort: number): boolean
}

export const TableKept = t.type({
  /** Places from here on were never given away. */
  unused: Place,
  /** Given back, the last one first to be given away again. */
  free: Places,
  /** Closed since the last sweep, and before it. */
  closed: Places,
  resting: Places,
  /** Of flows that have taken their host side: our own port. */
  claims: t.array(t.tuple([Place, Place]))
})
export type TableKept = t.TypeOf<typeof TableKept>

const EMPTY = 0
/** The word of a key with both ports. */
const PORTS = 1

/**
 * Keys of `words` 32-bit words, one per flow index, and the hash table over them: open addressing with linear probing, at
 * most half full. `probe` is the only way to a bucket, for look-up, insertion and removal (#regression-41). Large arrays
 * start as untouched zero pages: what was never used costs no memory.
 */
class Keys {
  /** The key to look for; fill it before `find` and `add`. */
  readonly scratch: Uint32Array
  readonly #keys: Uint32Array
  readonly #hashes: Uint32Array
  /** Index + 1, or EMPTY. */
  readonly #buckets: Int32Array
  readonly #mask: number
  #hash = 0

  constructor(
    readonly words: number,
    capacity: number,
    readonly secret: HashKey
  ) {
    const buckets = 2 ** Math.ceil(Math.log2(capacity * 2))
    this.scratch = new Uint32Array(words)
    this.#keys = new Uint32Array(capacity * words)
    this.#hashes = new Uint32Array(capacity)
    this.#buckets = new Int32Array(buckets)
    this.#mask = buckets - 1
  }

  #same(index: number): boolean {
    const at = index * this.words
    for (let i = 0; i < this.words; i++) if (this.#keys[at + i] !== this.scratch[i]) return false
    return true
  }

  /** Bucket of the scratch key: where it is, or the empty one where it would go. */
  #probe(): number {
    this.#hash = halfSipHash24(this.secret, this.scratch, this.words)
    let b = this.#hash & this.#mask
    for (;;) {
      const held = this.#buckets[b]
      if (held === EMPTY || (this.#hashes[held - 1] === this.#hash && this.#same(held - 1))) return b
      b = (b + 1) & this.#mask
    }
  }

  find(): number {
    return this.#buckets[this.#probe()] - 1
  }

  /** False if some index has this key already. */
  add(index: number): boolean {
    const b = this.#probe()
    if (this.#buckets[b] !== EMPTY) return false
    this.#buckets[b] = index + 1
    this.#hashes[index] = this.#hash
    this.#keys.set(this.scratch, index * this.words)
    return true
  }

  keyWord(index: number, word: number): number {
    return this.#keys[index * this.words + word]
  }

  /** Remove by the key that `index` has; those behind it in the probe sequence move up, so that no tombstones are left. */
  remove(index: number): void {
    const at = index * this.words
    for (let i = 0; i < this.words; i++) this.scratch[i] = this.#keys[at + i]
    let hole = this.#probe()
    if (this.#buckets[hole] !== index + 1) return
    for (let b = (hole + 1) & this.#mask; this.#buckets[b] !== EMPTY; b = (b + 1) & this.#mask) {
      const home = this.#hashes[this.#buckets[b] - 1] & this.#mask
      // Distance from home to where it stands, against the distance to the hole: cyclic `home` <= `hole` < `b`.
      if (((b - home) & this.#mask) >= ((b - hole) & this.#mask)) {
        this.#buckets[hole] = this.#buckets[b]
        hole = b
      }
    }
    this.#buckets[hole] = EMPTY
  }
}

const FREE = 0
const OPEN = 1
/** Open, and its host side is taken. */
const CLAIMED = 2
const CLOSED = 3
/** Read: it was open, and is yet to be put here. */
const AWAITED = 4
const PORT = 0xffff

/** `secret`: random, per process. */
export const createFlowTable = (secret: HashKey, capacity: number = MAX_FLOWS): FlowTable => {
  const guest = new Keys(10, capacity, secret)
  const host = new Keys(6, capacity, secret)
  const states = new Uint8Array(capacity)
  /** Stack of indices given back; those from `unused` on were never given out. */
  const free = new Int32Array(capacity)
  let freed = 0
  let unused = 0
  /** Closed since the last sweep, and before it. */
  let closed: number[] = []
  let resting: number[] = []
  let size = 0

  const guestKey = (proto: number, src: InAny, srcPort: number, dst: InAny, dstPort: number): void => {
    const k = guest.scratch
    k[0] = proto
    k[1] = (srcPort << 16) | dstPort
    k[2] = src[0]
    k[3] = src[1]
    k[4] = src[2]
    k[5] = src[3]
    k[6] = dst[0]
    k[7] = dst[1]
    k[8] = dst[2]
    k[9] = dst[3]
  }
  const hostKey = (proto: number, addr: InAny, hostPort: number, ourPort: number): void => {
    const k = host.scratch
    k[0] = proto
    k[1] = (hostPort << 16) | ourPort
    k[2] = addr[0]
    k[3] = addr[1]
    k[4] = addr[2]
    k[5] = addr[3]
  }
  const release = (index: number): void => {
    states[index] = FREE
    free[freed++] = index
  }

  return {
    get size() {
      return size
    },
    find: (proto, src, srcPort, dst, dstPort) => {
      guestKey(proto, src, srcPort, dst, dstPort)
      return guest.find()
    },
    insert: (proto, src, srcPort, dst, dstPort) => {
      if (freed === 0 && unused === capacity) return -1
      const index = freed > 0 ? free[--freed] : unused++
      guestKey(proto, src, srcPort, dst, dstPort)
      if (!guest.add(index)) {
        release(index)
        return -1
      }
      states[index] = OPEN
      size++
      return index
    },
    claim: (index, proto, addr, hostPort, ourPort) => {
      if (states[index] !== OPEN) return false
      hostKey(proto, addr, hostPort, ourPort)
      if (!host.add(index)) return false
      states[index] = CLAIMED
      return true
    },
    claimed: (proto, addr, hostPort, ourPort) => {
      hostKey(proto, addr, hostPort, ourPort)
      return host.find()
    },
    close: (index) => {
      const was = states[index]
      if (was !== OPEN && was !== CLAIMED) return
      guest.remove(index)
      if (was === CLAIMED) host.remove(index)
      states[index] = CLOSED
      closed.push(index)
      size--
    },
    sweep: () => {
      if (closed.length === 0 && resting.length === 0) return
      for (const index of resting) release(index)
      resting.length = 0
      const again = resting
      resting = closed
      closed = again
    },
    kept: () => {
      const claims: TableKept['claims'] = []
      for (let i = 0; i < unused; i++)
        if (states[i] === CLAIMED) claims.push([i, host.keyWord(i, PORTS) & PORT])
      return {
        unused,
        free: [...free.subarray(0, freed)],
        closed: [...closed],
        resting: [...resting],
        claims
      }
    },
    read: (k) => {
      if (k.unused > capacity) return false
      unused = k.unused
      states.fill(AWAITED, 0, unused)
      for (const [list, state] of [
        [k.free, FREE],
        [k.closed, CLOSED],
        [k.resting, CLOSED]
      ] as const)
        for (const i of list) {
          if (i >= unused || states[i] !== AWAITED) return false
          states[i] = state
        }
      for (const i of k.free) free[freed++] = i
      closed = [...k.closed]
      resting = [...k.resting]
      return true
    },
    put: (index, proto, src, srcPort, dst, dstPort) => {
      if (index >= unused || states[index] !== AWAITED) return false
      guestKey(proto, src, srcPort, dst, dstPort)
      if (!guest.add(index)) return false
      states[index] = OPEN
      size++
      return true
    }
  }
}
