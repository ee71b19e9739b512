import { readSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import { EADDRINUSE } from '../../codecs/value/errno.js'
import { UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { octetsOfText } from '../../codecs/value/octet-text.js'
import { addPort, emptyPorts, NO_PORTS, type PortSet, removePort } from '../../codecs/value/port-set.js'
import { PROTO_TCP, PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { Instant } from '../../effects/effect.js'
import type { BindFailure } from '../../machines/forward/bind-verdict.js'
import { listensAtPath, type Rule } from '../../machines/forward/forward-rules.js'
import {
  type Ends,
  endsKey,
  type Open,
  openingOrder,
  openOf
} from '../../machines/forward/listener-changes.js'
import {
  portScanMachine,
  type ScanContext,
  type ScanEffect,
  type ScanEvent,
  scans
} from '../../machines/forward/port-scan.js'
import {
  LISTEN_FREEBIND,
  LISTEN_IN_NAMESPACE,
  LISTEN_UNIX,
  LISTEN_V6ONLY,
  LISTEN_WORDS,
  type Native
} from '../abi/abi.js'
import { Deadline } from '../flow/deadline.js'
import type { Listeners } from '../flow/listener.js'
import type { Log } from '../log/log.js'
import { compile, type State } from '../machine/compile.js'
import { claim, type Inherited, NOBODY as NO_FORMER, portsWaiting } from './inherited.js'
import type { Launcher } from './launcher.js'
import { beginReading, type ProcNet, type ReadAt, type Reading, readSlice, settled } from './port-reader.js'

// Opening and closing listeners, at start and when ports come and go (`auto`).

export interface ListenPlace {
  readonly native: Native
  readonly launcher: Launcher
  /** Those that count; with --conf-path others come (live-listeners.ts). */
  rules: ReadonlyArray<Rule>
  /** Others are about to: nobody else opens or closes any. */
  changing: boolean
  readonly freebind: boolean
  readonly listeners: Listeners
  /** By ends (endsKey): where it listens, and the ids of each port's listeners. */
  readonly open: Map<string, OpenHere>
  readonly listenerIds: IdPool
  /** Of the process whose place we take. */
  readonly inherited: Inherited
}

interface OpenHere extends Open {
  readonly ids: Map<number, ReadonlyArray<number>>
}

export const listenPlace = (
  native: Native,
  launcher: Launcher,
  rules: ReadonlyArray<Rule>,
  freebind: boolean,
  inherited: Inherited
): ListenPlace => ({
  native,
  launcher,
  rules,
  changing: false,
  freebind,
  listeners: new Map(),
  open: new Map(),
  listenerIds: idPool(),
  inherited
})

const protoOf = (r: Rule): number => (r.proto === 'tcp' ? PROTO_TCP : PROTO_UDP)
/** Small integers to tell listeners by: those given back, and the next new one. */
export interface IdPool {
  readonly free: number[]
  next: number
}
export const idPool = (): IdPool => ({ free: [], next: 0 })
export const newId = (p: IdPool): number => p.free.pop() ?? p.next++

const note = (p: ListenPlace, id: number, r: Rule, port: number): void => {
  p.listeners.set(id, { rule: r, port })
  const key = endsKey(r)
  const there = p.open.get(key) ?? { ends: r, ports: emptyPorts(), ids: new Map() }
  p.open.set(key, there)
  addPort(there.ports, port)
  there.ids.set(port, [...(there.ids.get(port) ?? []), id])
}

const portsOf = (r: Rule): ReadonlyArray<number> =>
  Array.from({ length: r.last - r.first + 1 }, (_, i) => r.first + i)

type PortFailure = Omit<BindFailure, 'rule'>

/** By the engine: one native call for all ports of a rule, at `ifname`. */
const openOurselves = (
  p: ListenPlace,
  r: Rule,
  ports: ReadonlyArray<number>,
  ifname: string | null,
  where: number
): ReadonlyArray<PortFailure> => {
  const batch = new Int32Array(ports.length * LISTEN_WORDS)
  const ids = ports.map(() => newId(p.listenerIds))
  const addr = r.bind ?? UNSPECIFIED6
  const flags = where | (r.v6only ? LISTEN_V6ONLY : 0)
  for (const [i, port] of ports.entries())
    batch.set([ids[i], protoOf(r), ...addr, port, flags, ifname === null ? 0 : 1], i * LISTEN_WORDS)
  const errnos = p.native.listen(batch, ifname === null ? [] : [octetsOfText(ifname)])
  return ports.flatMap((port, i) => {
    if (errnos[i] === 0) {
      note(p, ids[i], r, port)
      return []
    }
    p.listenerIds.free.push(ids[i])
    return [{ port, errno: errnos[i] }]
  })
}

/** Listeners of -T and -U hear what stays in the namespace. */
const LOOPBACK_DEVICE = 'lo'

const openHost = (p: ListenPlace, r: Rule, ports: ReadonlyArray<number>): ReadonlyArray<PortFailure> =>
  openOurselves(p, r, ports, r.ifname, p.freebind ? LISTEN_FREEBIND : 0)

/**
 * In the namespace: the launcher makes them, since the engine cannot go there. But a UDP port that flows of a former listener
 * have still is shared by sockets of one process only (addon/ports.h): the engine binds one that was made there.
 */
const openNamespace = (p: ListenPlace, r: Rule, ports: ReadonlyArray<number>): ReadonlyArray<PortFailure> => {
  const addr = r.bind ?? UNSPECIFIED6
  const orders = ports.map((port) => ({
    proto: r.proto,
    v6only: r.v6only,
    port,
    addr,
    device: LOOPBACK_DEVICE
  }))
  const answer = p.launcher.listen(orders)
  if (E.isLeft(answer)) return ports.map((port) => ({ port, errno: answer.left.errno || 5 }))
  return answer.right.listened.flatMap((l, i) => {
    for (const fd of l.fds) {
      const id = newId(p.listenerIds)
      p.native.adoptListener(id, fd, protoOf(r), LISTEN_IN_NAMESPACE)
      note(p, id, r, ports[i])
    }
    if (l.errno === 0) return []
    if (l.errno === EADDRINUSE && r.proto === 'udp')
      return openOurselves(p, r, [ports[i]], LOOPBACK_DEVICE, LISTEN_IN_NAMESPACE).map((f) => ({
        ...f,
        errno: l.errno
      }))
    return [{ port: ports[i], errno: l.errno }]
  })
}

/** What another process listened with. Is it there? */
const openInherited = (p: ListenPlace, r: Rule, port: number): boolean => {
  const found = claim(p.inherited, { ...r, port, path: listensAtPath(r) })
  const flags =
    listensAtPath(r) !== null
      ? LISTEN_UNIX
      : r.direction === 'in'
        ? p.freebind
          ? LISTEN_FREEBIND
          : 0
        : LISTEN_IN_NAMESPACE
  for (const { former, fd } of found) {
    const id = newId(p.listenerIds)
    p.native.adoptListener(id, fd, protoOf(r), flags)
    if (former !== NO_FORMER) p.inherited.ids.set(former, id)
    note(p, id, r, port)
  }
  return found.length > 0
}

/** Listeners of a rule of ours. `ports`: those that it does not have. */
export const openPorts = (
  p: ListenPlace,
  r: Rule,
  ports: ReadonlyArray<number>
): ReadonlyArray<PortFailure> => {
  const fresh = p.inherited.waiting.size === 0 ? ports : ports.filter((port) => !openInherited(p, r, port))
  return r.direction === 'in' ? openHost(p, r, fresh) : openNamespace(p, r, fresh)
}

/** Those of a rule that scans, as if it had found them itself. */
const inheritedPorts = (p: ListenPlace, r: Rule): PortSet => {
  const open = emptyPorts()
  if (r.scan)
    for (const port of portsWaiting(p.inherited))
      if (r.first <= port && port <= r.last && openInherited(p, r, port)) addPort(open, port)
  return open
}

/** Those at paths. `failed`: something else has that name, somebody listens there, or there is no way to it. */
export const openPaths = (p: ListenPlace, failed: (path: string, e: unknown) => never): void => {
  for (const r of p.rules) {
    const path = listensAtPath(r)
    if (path === null) continue
    if (!openInherited(p, r, r.first)) {
      try {
        const id = newId(p.listenerIds)
        p.native.adoptListener(id, p.native.unixListen(path), PROTO_TCP, LISTEN_UNIX)
        note(p, id, r, r.first)
      } catch (e) {
        failed(path, e)
      }
    }
    // Without it the file stays, and is replaced at the next start
    p.launcher.unixFile(path)
  }
}

/** All listeners of rules that do not scan, but for those at paths. */
export const openAll = (p: ListenPlace): ReadonlyArray<BindFailure> =>
  openingOrder(p.rules).flatMap((rule) => {
    const r = p.rules[rule]!
    return r.scan || listensAtPath(r) !== null ? [] : openPorts(p, r, portsOf(r)).map((f) => ({ rule, ...f }))
  })

export const closePorts = (p: ListenPlace, ends: Ends, ports: ReadonlyArray<number>): void => {
  const key = endsKey(ends)
  const there = p.open.get(key)
  if (there === undefined) return
  for (const port of ports) {
    for (const id of there.ids.get(port) ?? []) {
      p.native.closeListener(id)
      p.listeners.delete(id)
      p.listenerIds.free.push(id)
    }
    there.ids.delete(port)
    removePort(there.ports, port)
  }
  if (there.ids.size === 0) p.open.delete(key)
}

// --- automatic ports

const pread: ReadAt = (fd, into, offset) => readSync(fd, into, 0, into.length, offset)

const NOBODY: ProcNet = new Map()

/** The scanner. */
interface Scanner {
  state: State<ScanContext>
  /** Under way; null: it waits for the next one. */
  reading: Reading | null
  /** What was read last. */
  found: Reading['found'] | null
}
const machine = compile<typeof portScanMachine, ScanEffect>(portScanMachine)

interface Scanning {
  readonly place: ListenPlace
  readonly host: ProcNet
  readonly ns: ProcNet
  readonly log: Log
  readonly scanner: Scanner
  readonly deadline: Deadline
}

/**
 * The first scan, done; and those to come: a slice a turn while one is due. `fresh`: the namespace is ours and its command still
 * waits, so that nobody listens there when the first scan is done.
 */
export const portScan = (
  place: ListenPlace,
  failures: ReadonlyArray<BindFailure>,
  host: ProcNet,
  ns: ProcNet,
  fresh: boolean,
  log: Log,
  now: Instant
) => {
  const effects: ScanEffect[] = []
  const s: Scanning = {
    place,
    host,
    ns,
    log,
    scanner: {
      state: machine.start(
        { rules: place.rules, failures, open: place.rules.map((r) => inheritedPorts(place, r)) },
        effects
      ),
      reading: null,
      found: null
    },
    deadline: new Deadline()
  }
  carryOutScan(fresh ? { ...s, ns: NOBODY } : s, effects, now)
  // At the start ports are there at once
  while (s.scanner.reading !== null) readOn(s, now)
  return {
    name: 'automatic ports',
    deadline: s.deadline,
    onTime: (at: Instant): void => onTime(s, at),
    /** Other rules count (the place's). `failures`: as for the start. */
    rules: (failed: ReadonlyArray<BindFailure>, at: Instant): void => {
      const { rules } = place
      const open = rules.map((r) => (r.scan ? openOf(place.open, r) : NO_PORTS))
      step(s, { type: 'RULES', rules, failures: failed, open }, at)
    }
  }
}

const step = (s: Scanning, e: ScanEvent, now: Instant): void => {
  const effects: ScanEffect[] = []
  s.scanner.state = machine.step(s.scanner.state, e, effects)
  carryOutScan(s, effects, now)
}

/** The next slice; the machine hears of the last one. */
const readOn = (s: Scanning, now: Instant): void => {
  const r = s.scanner.reading
  if (r === null) return
  try {
    if (!readSlice(r, pread)) return
  } catch {
    s.scanner.reading = null
    return step(s, { type: 'SCAN_FAILED', now }, now)
  }
  const { host, ns } = settled(r, s.scanner.found)
  s.scanner.reading = null
  s.scanner.found = r.found
  step(s, { type: 'SCANNED', host, ns, now }, now)
}

const carryOutScan = (s: Scanning, effects: ReadonlyArray<ScanEffect>, now: Instant): void => {
  for (const e of effects)
    switch (e.type) {
      case 'ReadListeners':
        // Rules that scan may come later
        s.scanner.reading = scans(s.place.rules) ? beginReading(s.host, s.ns) : null
        s.deadline.at = s.scanner.reading === null ? Number.POSITIVE_INFINITY : now
        break
      case 'CloseListeners':
        for (const { rule, ports } of e.list) closePorts(s.place, s.place.rules[rule], ports)
        break
      case 'OpenListeners':
        for (const { rule, ports } of e.list)
          for (const f of openPorts(s.place, s.place.rules[rule], ports))
            step(s, { type: 'LISTENER_FAILED', rule, ports: [f.port], errno: f.errno }, now)
        break
      case 'ArmScanTimer':
        s.deadline.at = e.at
        break
      case 'Warn':
        // What listens in the namespace is its programs' doing
        for (const line of e.lines) s.log.event('ports', 'warning', line)
        break
    }
}

const onTime = (s: Scanning, now: Instant): void => {
  if (s.place.changing) return
  if (s.scanner.reading === null) {
    s.deadline.at = Number.POSITIVE_INFINITY
    step(s, { type: 'TIMER_SCAN' }, now)
  }
  readOn(s, now)
}
