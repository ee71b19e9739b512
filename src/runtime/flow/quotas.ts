import * as t from 'io-ts'
import { Place, Places, Real } from '../../codecs/log/written.js'

// What the flows of a guest take of the host: counted as a flow begins and ends, in constant time, so that there is always
// something left for the host's other programs. Listeners are the user's doing and do not count.

/** Limits, each of what all flows take together. */
export interface Limits {
  readonly flows: number
  /** Descriptors of sockets. */
  readonly files: number
  /** Octets in the buffers of sockets, as far as they have been measured (socket-memory.ts). */
  readonly memory: number
  /** Local ports, of UDP and of TCP each; as many identifiers of ping sockets. */
  readonly ports: number
  /** TCP connections that nobody has accepted yet: of the guest's with the world, and of the world's with the guest, each. */
  readonly halfOpen: number
}

/** The things counted. `ports` are those of one protocol, `half` connections of one direction. */
export const RESOURCES = [
  'flows',
  'files',
  'memory',
  'udpPorts',
  'tcpPorts',
  'pingIds',
  'halfOut',
  'halfIn'
] as const
export type Resource = (typeof RESOURCES)[number]

// In here a resource is its place in that list, a kind of flow its place in TAKINGS, and what is counted stands in typed arrays: names
// would make each count a search for a property.
const [FLOWS, FILES, MEMORY, UDP_PORTS, TCP_PORTS, PING_IDS, HALF_OUT, HALF_IN] = [0, 1, 2, 3, 4, 5, 6, 7]
const NO_RESOURCE = -1

/** Kinds of flows by what they take. Out: the guest began it; In: a host peer did. A pair has a socket at each end. */
const TAKINGS = [
  'tcpOut',
  'tcpIn',
  'udpOut',
  'udpIn',
  'ping',
  'tcpPairOut',
  'tcpPairIn',
  'udpPairOut',
  'udpPairIn'
] as const
export type Taking = (typeof TAKINGS)[number]

/** Who began it; each side has a share of flows and descriptors that the other cannot take. */
const OUT = 0
const IN = 1
/**
 * By kind. Half: until the other side has accepted. A pair that goes into the namespace takes its ports there; a flow that a host
 * peer began has its listener's port. UDP flows from one port of the guest may share one of the host, but need not: what that one
 * is taken for (another program, a question to a group) the kernel chooses. So each counts as one.
 */
const [NEEDED_FILES, NEEDED_PORT, HALF, SIDE] = [0, 1, 2, 3].map((k) =>
  Int8Array.from(
    [
      [1, TCP_PORTS, HALF_OUT, OUT],
      [1, NO_RESOURCE, HALF_IN, IN],
      [1, UDP_PORTS, NO_RESOURCE, OUT],
      [1, NO_RESOURCE, NO_RESOURCE, IN],
      [1, PING_IDS, NO_RESOURCE, OUT],
      [2, TCP_PORTS, HALF_OUT, OUT],
      [2, NO_RESOURCE, HALF_IN, IN],
      [2, UDP_PORTS, NO_RESOURCE, OUT],
      [2, NO_RESOURCE, NO_RESOURCE, IN]
    ],
    (row) => row[k]
  )
)
const takingNumber = Object.fromEntries(TAKINGS.map((t, i) => [t, i])) as Readonly<Record<Taking, number>>
const resourceNumber = Object.fromEntries(RESOURCES.map((r, i) => [r, i])) as Readonly<
  Record<Resource, number>
>

/** s without a datagram: such a flow of UDP or ping is idle, and gives way. Its peer has had time to answer. */
export const IDLE_AFTER = 5
/** s that a connection is not accepted: the oldest of these gives way to a new one (RFC 4987 §3.4). */
export const UNANSWERED_AFTER = 3

/** Who may give way stands in one of these lists, the one that waits longest first. 0: in none. */
const QUEUES = ['unanswered', 'udpPorts', 'pingIds', 'answered', 'halfOut', 'halfIn'] as const
type Queue = (typeof QUEUES)[number]
const IN_NONE = 0
const numberOf = (q: Queue): number => QUEUES.indexOf(q) + 1
/** Datagrams of host peers: until the guest has answered, and then. Who was never answered gives way at once. */
const UNANSWERED = numberOf('unanswered')
const ANSWERED = numberOf('answered')
/** Up to here: flows without an end of their own, by last use. The others by when they began. */
const LAST_IDLE = ANSWERED
const QUEUE = Int8Array.from(TAKINGS, (_, t) => {
  const r = HALF[t] !== NO_RESOURCE ? HALF[t] : NEEDED_PORT[t]
  return r === NO_RESOURCE ? UNANSWERED : numberOf(RESOURCES[r] as Queue)
})

/** What of `limit` one side may take: an eighth is left to the other. */
export const shareOf = (limit: number): number => Math.ceil((limit * 7) / 8)

/** Time as counted here: a look at it costs a packet next to nothing. */
export const seconds = (ms: number): number => Math.floor(ms / 1000)

export interface Quotas {
  readonly limits: Limits
  used(r: Resource): number
  limitOf(r: Resource): number
  /** Nothing is left of it; asked each turn. */
  memoryFull(): boolean
  /** What one more such flow would lack; null: nothing. */
  lacks(t: Taking): Resource | null
  /** The flow that gives way, so that there is more of `r`, for such a flow; -1: none does. `now`: s, never going back. */
  givesWay(r: Resource, now: number, t: Taking | null): number
  /** A flow has begun, at index `i` that no other flow has. */
  open(i: number, t: Taking, now: number): void
  /** Something came for it. */
  use(i: number, now: number): void
  /** Whom it is for has answered it. True: for the first time, of flows that a host peer began. */
  answered(i: number): boolean
  /** Its connection is accepted: half open no more. */
  accepted(i: number): void
  /** It waits for its connection to be accepted. */
  isHalfOpen(i: number): boolean
  /** Its sockets hold so many octets; its TCP peers have taken and sent `moved` so far. */
  measured(i: number, octets: number, moved: number, now: number): void
  /** s that a TCP connection holds what it holds, and nothing of it has moved, from measurement to measurement. */
  stillFor(i: number, now: number): number
  /** Its sockets are closed, though it goes on, as TCP does in TIME-WAIT: no descriptor is its any more. */
  released(i: number): void
  /** It has ended. Twice is nothing. */
  close(i: number): void
  /** Was `r` used up for the first time since there was an eighth of it left? */
  met(r: Resource): boolean
  /** What is known of each flow, and who gives way in what order. */
  kept(): QuotasKept
  /** Where no flow is. False: that is of nothing of this size. */
  read(k: QuotasKept): boolean
}

const FlowKept = t.type({
  index: Place,
  /** Its place in TAKINGS. */
  taking: Place,
  octets: Real,
  moved: Real,
  /** Its sockets are closed. */
  bare: t.boolean,
  /** s */
  stillSince: Place,
  since: Place
})
export const QuotasKept = t.type({
  flows: t.array(FlowKept),
  /** By list of those that may give way, the first one first. */
  queues: t.array(Places),
  /** Resources whose limit was met, and that was said. */
  told: Places
})
export type QuotasKept = t.TypeOf<typeof QuotasKept>

/**
 * `capacity`: flow indices are below it. `sharedTcpPorts`: the kernel chooses them of a range that is the guest's, where
 * connections to different peers share them, so that their number is no limit. `bothSides`: host peers may begin flows as well
 * as the guest, so that each side has its share.
 */
export const createQuotas = (
  limits: Limits,
  capacity: number,
  sharedTcpPorts: boolean,
  bothSides: boolean
): Quotas => {
  const { flows, files, memory, ports, halfOpen } = limits
  const bound = Float64Array.of(flows, files, memory, ports, ports, ports, halfOpen, halfOpen)
  const used = new Float64Array(RESOURCES.length)
  /** Up to there enough is left again for a limit to be told anew. A side may be at its share's end when an eighth is left. */
  const calm = bound.map((n, r) => (bothSides && (r === FLOWS || r === FILES) ? (n * 3) / 4 : (n * 7) / 8))
  const share = bound.map(shareOf)
  /** Of one side, by its number. */
  const flowsOf = new Int32Array(2)
  const filesOf = new Int32Array(2)
  /** 1: it has been told that the limit was met. */
  const told = new Uint8Array(RESOURCES.length)
  // Large arrays start as untouched zero pages: what was never used costs no memory.
  /** Number of the kind + 1; 0: no flow. */
  const takings = new Uint8Array(capacity)
  const octets = new Float64Array(capacity)
  const moved = new Float64Array(capacity)
  /** 1: its sockets are closed. */
  const bare = new Uint8Array(capacity)
  /** s, of the first measurement since which it holds no less and nothing has moved. */
  const stillSince = new Int32Array(capacity)
  /** s, of the last use; of a half-open connection, when it began. */
  const since = new Int32Array(capacity)
  /** Doubly linked lists, indices + 1; 0 = none. */
  const queued = new Uint8Array(capacity)
  const next = new Int32Array(capacity)
  const prev = new Int32Array(capacity)
  const head = new Int32Array(QUEUES.length + 1)
  const tail = new Int32Array(QUEUES.length + 1)

  const unlink = (i: number): void => {
    const q = queued[i]
    if (q === IN_NONE) return
    if (prev[i] === 0) head[q] = next[i]
    else next[prev[i] - 1] = next[i]
    if (next[i] === 0) tail[q] = prev[i]
    else prev[next[i] - 1] = prev[i]
    queued[i] = IN_NONE
  }
  const append = (i: number, q: number): void => {
    prev[i] = tail[q]
    next[i] = 0
    if (tail[q] === 0) head[q] = i + 1
    else next[tail[q] - 1] = i + 1
    tail[q] = i + 1
    queued[i] = q
  }
  const take = (r: number, n: number): void => {
    used[r] += n
    if (n < 0 && used[r] <= calm[r]) told[r] = 0
  }
  const takeFlow = (t: number, sign: 1 | -1): void => {
    flowsOf[SIDE[t]] += sign
    take(FLOWS, sign)
  }
  const takeFiles = (t: number, sign: 1 | -1): void => {
    const n = sign * NEEDED_FILES[t]
    filesOf[SIDE[t]] += n
    take(FILES, n)
  }
  /** What a flow has of the host, its buffers aside. `files`: its sockets are open. */
  const takeUp = (t: number, sign: 1 | -1, files: boolean): void => {
    takeFlow(t, sign)
    if (files) takeFiles(t, sign)
    if (NEEDED_PORT[t] !== NO_RESOURCE) take(NEEDED_PORT[t], sign)
  }
  const shareFull = (r: number, t: number): boolean =>
    bothSides && (r === FLOWS ? flowsOf[SIDE[t]] + 1 : filesOf[SIDE[t]] + NEEDED_FILES[t]) > share[r]
  const full = (r: number, n: number): boolean =>
    used[r] + n > bound[r] && !(r === TCP_PORTS && sharedTcpPorts)
  /** What one more flow lacks, or NO_RESOURCE. */
  const lack = (t: number): number => {
    if (full(FLOWS, 1) || shareFull(FLOWS, t)) return FLOWS
    if (full(FILES, NEEDED_FILES[t]) || shareFull(FILES, t)) return FILES
    if (full(MEMORY, 1)) return MEMORY
    if (NEEDED_PORT[t] !== NO_RESOURCE && full(NEEDED_PORT[t], 1)) return NEEDED_PORT[t]
    return HALF[t] !== NO_RESOURCE && full(HALF[t], 1) ? HALF[t] : NO_RESOURCE
  }
  /** The oldest of a queue, if it has waited for `s`. */
  const oldest = (q: number, s: number, now: number): number => {
    const i = head[q] - 1
    return i >= 0 && now - since[i] >= s ? i : -1
  }

  return {
    limits,
    used: (r) => used[resourceNumber[r]],
    limitOf: (r) => bound[resourceNumber[r]],
    memoryFull: () => used[MEMORY] >= bound[MEMORY],
    lacks: (taking) => {
      const r = lack(takingNumber[taking])
      return r === NO_RESOURCE ? null : RESOURCES[r]
    },
    givesWay: (r, now, taking) => {
      if (r === 'halfOut' || r === 'halfIn') return oldest(numberOf(r), UNANSWERED_AFTER, now)
      if (r === 'udpPorts' || r === 'pingIds') return oldest(numberOf(r), IDLE_AFTER, now)
      if (r === 'tcpPorts') return -1
      // Whose side's share is used up has room only by a flow of that side
      const t = taking === null ? -1 : takingNumber[taking]
      const whole = t >= 0 && (r === 'flows' || r === 'files') && shareFull(resourceNumber[r], t)
      const side = whole ? SIDE[t] : null
      let first = side === OUT ? -1 : oldest(UNANSWERED, 0, now)
      if (first >= 0) return first
      for (let q = UNANSWERED + 1; q <= LAST_IDLE; q++) {
        if (side !== null && (side === IN) !== (q === ANSWERED)) continue
        const i = oldest(q, IDLE_AFTER, now)
        if (i >= 0 && (first < 0 || since[i] < since[first])) first = i
      }
      return first
    },
    open: (i, taking, now) => {
      const t = takingNumber[taking]
      takings[i] = t + 1
      bare[i] = 0
      since[i] = now
      stillSince[i] = now
      moved[i] = 0
      takeUp(t, 1, true)
      if (HALF[t] !== NO_RESOURCE) take(HALF[t], 1)
      append(i, QUEUE[t])
    },
    use: (i, now) => {
      const q = queued[i]
      if (since[i] === now || q === IN_NONE || q > LAST_IDLE) return
      since[i] = now
      unlink(i)
      append(i, q)
    },
    answered: (i) => {
      if (queued[i] !== UNANSWERED) return false
      unlink(i)
      append(i, ANSWERED)
      return true
    },
    accepted: (i) => {
      if (queued[i] <= LAST_IDLE) return
      unlink(i)
      take(HALF[takings[i] - 1], -1)
    },
    measured: (i, n, sum, now) => {
      if (takings[i] === 0) return
      if (n < octets[i] || sum !== moved[i]) stillSince[i] = now
      take(MEMORY, n - octets[i])
      octets[i] = n
      moved[i] = sum
    },
    stillFor: (i, now) =>
      takings[i] === 0 || HALF[takings[i] - 1] === NO_RESOURCE ? 0 : now - stillSince[i],
    isHalfOpen: (i) => queued[i] > LAST_IDLE,
    released: (i) => {
      if (takings[i] === 0 || bare[i] === 1) return
      bare[i] = 1
      takeFiles(takings[i] - 1, -1)
    },
    close: (i) => {
      const t = takings[i] - 1
      if (t < 0) return
      if (queued[i] > LAST_IDLE) take(HALF[t], -1)
      unlink(i)
      take(MEMORY, -octets[i])
      octets[i] = 0
      takings[i] = 0
      takeUp(t, -1, bare[i] === 0)
    },
    met: (r) => {
      if (told[resourceNumber[r]] === 1) return false
      told[resourceNumber[r]] = 1
      return true
    },
    kept: () => {
      const all: QuotasKept['flows'] = []
      for (let i = 0; i < capacity; i++)
        if (takings[i] !== 0)
          all.push({
            index: i,
            taking: takings[i] - 1,
            octets: octets[i],
            moved: moved[i],
            bare: bare[i] === 1,
            stillSince: stillSince[i],
            since: since[i]
          })
      const queues = QUEUES.map((_, q) => {
        const list: number[] = []
        for (let i = head[q + 1]; i !== 0; i = next[i - 1]) list.push(i - 1)
        return list
      })
      return { flows: all, queues, told: [...told.keys()].filter((r) => told[r] === 1) }
    },
    read: (k) => {
      for (const f of k.flows) {
        const { index: i, taking } = f
        if (i >= capacity || takings[i] !== 0 || taking >= TAKINGS.length) return false
        takings[i] = taking + 1
        octets[i] = f.octets
        moved[i] = f.moved
        bare[i] = f.bare ? 1 : 0
        stillSince[i] = f.stillSince
        since[i] = f.since
        takeUp(taking, 1, !f.bare)
        take(MEMORY, f.octets)
      }
      for (const [q, list] of k.queues.entries())
        for (const i of list) {
          if (q >= QUEUES.length || i >= capacity || takings[i] === 0 || queued[i] !== IN_NONE) return false
          append(i, q + 1)
          if (queued[i] <= LAST_IDLE) continue
          const half = HALF[takings[i] - 1]
          if (half === NO_RESOURCE) return false
          take(half, 1)
        }
      for (const r of k.told) if (r < told.length) told[r] = 1
      return true
    }
  }
}
