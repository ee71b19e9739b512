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

/** Kinds of flows by what they take. Out: the guest began it; In: a host peer did. A pair has a socket at each end. */
export type Taking =
  | 'tcpOut'
  | 'tcpIn'
  | 'udpOut'
  | 'udpIn'
  | 'ping'
  | 'tcpPairOut'
  | 'tcpPairIn'
  | 'udpPairOut'
  | 'udpPairIn'

interface Needs {
  readonly files: number
  readonly port: 'udpPorts' | 'tcpPorts' | 'pingIds' | null
  /** Until the other side has accepted. */
  readonly half: 'halfOut' | 'halfIn' | null
}
/**
 * A pair that goes into the namespace takes its ports there; a flow that a host peer began has its listener's port. UDP flows from
 * one port of the guest may share one of the host, but need not: what that one is taken for (another program, a question to a group)
 * the kernel chooses. So each counts as one.
 */
const NEEDS: Readonly<Record<Taking, Needs>> = {
  tcpOut: { files: 1, port: 'tcpPorts', half: 'halfOut' },
  tcpIn: { files: 1, port: null, half: 'halfIn' },
  udpOut: { files: 1, port: 'udpPorts', half: null },
  udpIn: { files: 1, port: null, half: null },
  ping: { files: 1, port: 'pingIds', half: null },
  tcpPairOut: { files: 2, port: 'tcpPorts', half: 'halfOut' },
  tcpPairIn: { files: 2, port: null, half: 'halfIn' },
  udpPairOut: { files: 2, port: 'udpPorts', half: null },
  udpPairIn: { files: 2, port: null, half: null }
}

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
const queueOf = (t: Taking): number => {
  const { port, half } = NEEDS[t]
  if (half !== null) return numberOf(half)
  return port === 'udpPorts' || port === 'pingIds' ? numberOf(port) : UNANSWERED
}

/** Who began it; each side has a share of flows and descriptors that the other cannot take. */
type Side = 'out' | 'in'
const SIDE: Readonly<Record<Taking, Side>> = {
  tcpOut: 'out',
  tcpIn: 'in',
  udpOut: 'out',
  udpIn: 'in',
  ping: 'out',
  tcpPairOut: 'out',
  tcpPairIn: 'in',
  udpPairOut: 'out',
  udpPairIn: 'in'
}
/** What of `limit` one side may take: an eighth is left to the other. */
export const shareOf = (limit: number): number => Math.ceil((limit * 7) / 8)

/** Time as counted here: a look at it costs a packet next to nothing. */
export const seconds = (ms: number): number => Math.floor(ms / 1000)

export interface Quotas {
  readonly limits: Limits
  used(r: Resource): number
  limitOf(r: Resource): number
  /** What one more such flow would lack; null: nothing. */
  lacks(t: Taking): Resource | null
  /** The flow that gives way, so that there is more of `r`, for such a flow; -1: none does. `now`: s, never going back. */
  givesWay(r: Resource, now: number, t: Taking | null): number
  /** A flow has begun, at index `i` that no other flow has. */
  open(i: number, t: Taking, now: number): void
  /** Something came for it. */
  use(i: number, now: number): void
  /** The guest has answered it. */
  answered(i: number): void
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
}

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
  const bound: Readonly<Record<Resource, number>> = {
    flows: limits.flows,
    files: limits.files,
    memory: limits.memory,
    udpPorts: limits.ports,
    tcpPorts: limits.ports,
    pingIds: limits.ports,
    halfOut: limits.halfOpen,
    halfIn: limits.halfOpen
  }
  const used: Record<Resource, number> = {
    flows: 0,
    files: 0,
    memory: 0,
    udpPorts: 0,
    tcpPorts: 0,
    pingIds: 0,
    halfOut: 0,
    halfIn: 0
  }
  const usedBy = { out: { flows: 0, files: 0 }, in: { flows: 0, files: 0 } }
  const told = new Set<Resource>()
  // Large arrays start as untouched zero pages: what was never used costs no memory.
  const takings: (Taking | undefined)[] = []
  const octets = new Float64Array(capacity)
  const moved = new Float64Array(capacity)
  /** s, of the first measurement since which it holds no less and nothing has moved. */
  /** 1: its sockets are closed. */
  const bare = new Uint8Array(capacity)
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
  const take = (r: Resource, n: number): void => {
    used[r] += n
    // A side may be at its share's end when an eighth is left
    const free = bothSides && (r === 'flows' || r === 'files') ? bound[r] / 4 : bound[r] / 8
    if (n < 0 && used[r] <= bound[r] - free) told.delete(r)
  }
  const takeFlow = (t: Taking, sign: 1 | -1): void => {
    usedBy[SIDE[t]].flows += sign
    take('flows', sign)
  }
  const takeFiles = (t: Taking, sign: 1 | -1): void => {
    const { files } = NEEDS[t]
    usedBy[SIDE[t]].files += sign * files
    take('files', sign * files)
  }
  const shareFull = (r: 'flows' | 'files', t: Taking): boolean =>
    bothSides && usedBy[SIDE[t]][r] + (r === 'flows' ? 1 : NEEDS[t].files) > shareOf(bound[r])
  const full = (r: Resource, n: number): boolean =>
    used[r] + n > bound[r] && !(r === 'tcpPorts' && sharedTcpPorts)
  /** The oldest of a queue, if it has waited for `s`. */
  const oldest = (q: number, s: number, now: number): number => {
    const i = head[q] - 1
    return i >= 0 && now - since[i] >= s ? i : -1
  }

  return {
    limits,
    used: (r) => used[r],
    limitOf: (r) => bound[r],
    lacks: (t) => {
      const { files, port: kind, half } = NEEDS[t]
      if (full('flows', 1) || shareFull('flows', t)) return 'flows'
      if (full('files', files) || shareFull('files', t)) return 'files'
      if (full('memory', 1)) return 'memory'
      if (kind !== null && full(kind, 1)) return kind
      return half !== null && full(half, 1) ? half : null
    },
    givesWay: (r, now, t) => {
      if (r === 'halfOut' || r === 'halfIn') return oldest(numberOf(r), UNANSWERED_AFTER, now)
      if (r === 'udpPorts' || r === 'pingIds') return oldest(numberOf(r), IDLE_AFTER, now)
      if (r === 'tcpPorts') return -1
      // Whose side's share is used up has room only by a flow of that side
      const side = t !== null && (r === 'flows' || r === 'files') && shareFull(r, t) ? SIDE[t] : null
      let first = side === 'out' ? -1 : oldest(UNANSWERED, 0, now)
      if (first >= 0) return first
      for (let q = UNANSWERED + 1; q <= LAST_IDLE; q++) {
        if (side !== null && (side === 'in') !== (q === ANSWERED)) continue
        const i = oldest(q, IDLE_AFTER, now)
        if (i >= 0 && (first < 0 || since[i] < since[first])) first = i
      }
      return first
    },
    open: (i, t, now) => {
      const { port: kind, half } = NEEDS[t]
      takings[i] = t
      bare[i] = 0
      since[i] = now
      stillSince[i] = now
      moved[i] = 0
      takeFlow(t, 1)
      takeFiles(t, 1)
      if (kind !== null) take(kind, 1)
      if (half !== null) take(half, 1)
      append(i, queueOf(t))
    },
    use: (i, now) => {
      const q = queued[i]
      if (since[i] === now || q === IN_NONE || q > LAST_IDLE) return
      since[i] = now
      unlink(i)
      append(i, q)
    },
    answered: (i) => {
      if (queued[i] !== UNANSWERED) return
      unlink(i)
      append(i, ANSWERED)
    },
    accepted: (i) => {
      const t = takings[i]
      if (t === undefined || queued[i] <= LAST_IDLE) return
      unlink(i)
      take(NEEDS[t].half ?? 'halfOut', -1)
    },
    measured: (i, n, sum, now) => {
      if (takings[i] === undefined) return
      if (n < octets[i] || sum !== moved[i]) stillSince[i] = now
      take('memory', n - octets[i])
      octets[i] = n
      moved[i] = sum
    },
    stillFor: (i, now) => {
      const t = takings[i]
      return t === undefined || NEEDS[t].half === null ? 0 : now - stillSince[i]
    },
    isHalfOpen: (i) => queued[i] > LAST_IDLE,
    released: (i) => {
      const t = takings[i]
      if (t === undefined || bare[i] === 1) return
      bare[i] = 1
      takeFiles(t, -1)
    },
    close: (i) => {
      const t = takings[i]
      if (t === undefined) return
      const { port: kind, half } = NEEDS[t]
      if (half !== null && queued[i] > LAST_IDLE) take(half, -1)
      unlink(i)
      take('memory', -octets[i])
      octets[i] = 0
      takings[i] = undefined
      takeFlow(t, -1)
      if (bare[i] === 0) takeFiles(t, -1)
      if (kind !== null) take(kind, -1)
    },
    met: (r) => {
      if (told.has(r)) return false
      told.add(r)
      return true
    }
  }
}
