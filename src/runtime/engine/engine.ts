import {
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeSync
} from 'node:fs'
import { resolve } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import type { ClientPart } from '../../codecs/control/conf.js'
import type { SocketFile } from '../../codecs/control/hand-over.js'
import { PROCNET_FILES, type ProcNetFile } from '../../codecs/control/launcher-sockets.js'
import { type NamedFd, parseListenFds } from '../../codecs/text/listen-fds.js'
import type { PortRange } from '../../codecs/text/port-spec.js'
import { EMPTY_RESOLV_CONF } from '../../codecs/text/resolv-conf.js'
import { visibleLines } from '../../codecs/text/visible.js'
import { EADDRINUSE, EBADFD, ENAMETOOLONG, ENOMEM } from '../../codecs/value/errno.js'
import { octetsOfText } from '../../codecs/value/octet-text.js'
import { readMac, writeMac } from '../../codecs/wire/ethernet.js'
import { instant } from '../../effects/effect.js'
import { linksOf } from '../../machines/address/on-link.js'
import { type BindFailure, bindVerdict } from '../../machines/forward/bind-verdict.js'
import { isFixed, ofTables, tablesIn } from '../../machines/forward/conf-rules.js'
import { forwardRules, listensAtPath, type Rule, unixTargets } from '../../machines/forward/forward-rules.js'
import type { Given } from '../../machines/forward/given-sockets.js'
import { scans } from '../../machines/forward/port-scan.js'
import { type Native, SIDE_1 } from '../abi/abi.js'
import { loadAddon } from '../abi/addon.js'
import { handOverHold } from '../abi/effects.js'
import { kindOf } from '../abi/events.js'
import { openRings, turn } from '../abi/rings.js'
import { VERSION } from '../cli/help.js'
import type { Options } from '../cli/option-table.js'
import { parseOptions } from '../cli/options.js'
import { print } from '../cli/print.js'
import { install } from '../data/feature.js'
import { createWorld, type Ended, type World } from '../data/world.js'
import { MAX_FLOWS } from '../flow/flow-table.js'
import { filesBeside, guestPorts, limitsOf, openFilesOf, tcpMemoryOf } from '../flow/limits.js'
import { withAskedDefaults } from '../host/ask-route.js'
import { ephemeralPorts } from '../host/ephemeral-ports.js'
import { givenSockets } from '../host/given.js'
import {
  deriveHost,
  type HostTables,
  type NetlinkRequest,
  readLinks,
  readTables,
  withOwnNames
} from '../host/host.js'
import { type Identity, identity } from '../host/identity.js'
import { closeUnclaimed, nothingInherited } from '../host/inherited.js'
import {
  CTL_FD,
  type Launcher,
  type LauncherFailure,
  launcher,
  netlinkIn,
  type TapDevice
} from '../host/launcher.js'
import { type ListenPlace, listenPlace, openAll, openPaths, portScan } from '../host/listeners.js'
import { rulesDoor } from '../host/live-listeners.js'
import type { ProcNet } from '../host/port-reader.js'
import { readResolvConf } from '../host/resolv-file.js'
import { FAULT, type Failure, NOT_STARTED, reportLine } from '../log/error-report.js'
import { errnoOf, errorText, failureText, reasonText } from '../log/error-text.js'
import { type Counters, type Log, showCounters } from '../log/log.js'
import { type Logging, openLogging } from '../log/log-sinks.js'
import { openCapture } from '../observe/capture.js'
import { configNet, leftOut, madeOf, withoutRefused } from '../plan/config-net.js'
import { statusText } from '../plan/info.js'
import { needsResolvConf, plan } from '../plan/plan.js'
import type { Plan } from '../plan/plan-types.js'
import { runSteps } from '../plan/run-steps.js'
import type { Recorder, RecordHead } from '../record/recorder.js'
import { macBy, watchNeighbours } from '../services/neighbours.js'
import { type Api, apiOf } from './api.js'
import type { NamespaceIs } from './api-status.js'
import { allFeatures, rulesMayChange } from './features.js'
import { FOLLOWED_GROUPS, follow } from './follow.js'
import {
  type InheritedSockets,
  inheritedFd,
  type LinkClient,
  linkClientOf,
  openGuestLink
} from './guest-link.js'
import type { Here } from './hand-over.js'
import { type RulesNow, rulesNow } from './live-rules.js'
import { loop } from './loop.js'
import { openRecord, recordEnd, recordNowhere, writer } from './open-record.js'
import { ruleText, startText } from './start-record.js'
import {
  findPredecessor,
  type HandedSocket,
  type LinkTaken,
  type Predecessor,
  takeOver
} from './take-over.js'
import { compileSooner } from './v8.js'
import { warmUp } from './warm-up.js'
import { warmUpMoves } from './warm-up-moves.js'
import { warmUpRestart } from './warm-up-restart.js'
import { neighbourConfig, worldConfig } from './world-config.js'
import { worldText } from './written-world.js'

/** The end, with one line on stderr, and what follows it there. */
class Fatal extends Error {
  constructor(
    readonly failure: Failure,
    readonly rest: string = ''
  ) {
    super(failure.message)
  }
}
const misfit = (message: string): Fatal => new Fatal({ kind: 'configuration', errno: 0, message })
const refused = (errno: number, message: string): Fatal => new Fatal({ kind: 'system', errno, message })
const orFatal = <A>(r: E.Either<string | LauncherFailure, A>): A => {
  if (E.isRight(r)) return r.right
  throw typeof r.left === 'string' ? misfit(r.left) : refused(r.left.errno, r.left.text)
}

/** `run`, whose failure by the system's fault is the end. `what`: behind "cannot". */
const tried = <A>(what: string, run: () => A): A => {
  try {
    return run()
  } catch (e) {
    const errno = errnoOf(e)
    throw errno > 0 ? refused(errno, `cannot ${what}: ${failureText(errno)}`) : e
  }
}

const loadNative = (): Native => {
  try {
    return loadAddon(process.argv[1] ?? '')
  } catch (e) {
    const why = e instanceof Error ? e.message : String(e)
    throw refused(0, `cannot load the addon: ${why} (npm run build makes it, for the Node.js that it finds)`)
  }
}

const readOr = <A>(path: string, otherwise: A): string | A => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return otherwise
  }
}

/** What to run with; --help, --version and errors end here. */
const options = (argv0: string, args: ReadonlyArray<string>): Options => {
  const answer = parseOptions(argv0, args)
  if (E.isLeft(answer)) {
    const { message, usage } = answer.left
    throw usage === null ? misfit(message) : new Fatal({ kind: 'usage', errno: 0, message }, `\n${usage}`)
  }
  if (answer.right.tag === 'Run') return answer.right.options
  print(1, answer.right.text)
  process.exit(0)
}

const random = (octets: number): Uint8Array => {
  const b = new Uint8Array(octets)
  const fd = tried("open /dev/urandom (a system's /dev has it: random(4))", () =>
    openSync('/dev/urandom', 'r')
  )
  readSync(fd, b)
  closeSync(fd)
  return b
}
/** Make or join the namespace; the command, if any, waits in it. */
const enterNamespace = (l: Launcher, p: Plan, log: Log): void => {
  const ns = p.namespace
  if (ns.kind === 'none') return
  if (ns.kind === 'join') {
    orFatal(
      l.join({
        pid: ns.pid ?? 0,
        noQuit: !ns.quitWithNamespace,
        userns: ns.userns ?? '',
        netns: ns.netns
      })
    )
    return
  }
  const spawned = orFatal(
    l.spawn({
      netnsOnly: !ns.newUserns,
      noPidns: !ns.newPidns,
      // the launcher counts from the program's own name on
      argvIndex: ns.argvIndex === null ? 0 : ns.argvIndex + 1,
      hostname: p.hostname ?? ''
    })
  )
  for (const w of spawned.warnings) log.at('warning', w)
}

/** Whom launcher and command become. Root's identity is for a command of which that was asked: --runas 0, --netns-only. */
const assume = (l: Launcher, p: Plan, who: Identity, log: Log): void => {
  if (who.uid < 0) return
  const { namespace: ns, runAs } = p
  // What only root may: join others' namespaces, make some without a user namespace around them
  const late = runAs === null && (ns.kind === 'join' || (ns.kind === 'spawn' && !ns.newUserns))
  orFatal(l.identity({ ...who, late }))
  if (runAs === null && ns.kind === 'spawn' && !late)
    log.at(
      'warning',
      `started as root: the command is root in its namespaces only, outside it is nobody (user ${who.uid}); --runas 0 keeps root`
    )
}

interface Prepared {
  readonly native: Native
  readonly launcher: Launcher
  readonly plan: Plan
  readonly who: Identity
  readonly world: World
  /** Ports appear later. */
  readonly scans: boolean
  /** null: without --record. */
  readonly record: Recorder | null
  /** Whose place we take. */
  readonly former: Predecessor | null
  readonly client: LinkClient
  readonly rules: ReadonlyArray<Rule>
  /** For a service manager's user. */
  readonly status: string
}

/** What came of a plan. */
interface Configured {
  readonly plan: Plan
  /** null: nothing is configured there, or not by us, or nobody can ask (--api). */
  readonly namespace: NamespaceIs | null
}
const configure = (l: Launcher, p: Plan, tap: TapDevice | null, tables: HostTables, log: Log): Configured => {
  const required = p.v6Only ? (['v6'] as const) : ([] as const)
  // without a tap there is only lo to bring up
  const index = tap?.index ?? 0
  const steps = configNet(tap === null ? { ...p, configNet: false, nsMac: null } : p, index, tables)
  const left = leftOut(p, tables)
  for (const what of left) log.at('info', `left out: ${what}`)
  const done = orFatal(runSteps(netlinkIn(l), steps, index, required))
  for (const w of done.warnings) log.at('warning', w)
  const is: Plan = {
    ...p,
    v4: done.missing.includes('v4') ? null : p.v4,
    v6: done.missing.includes('v6') ? null : p.v6
  }
  if (tap === null || !p.configNet || p.apiPath === null) return { plan: is, namespace: null }
  const refused = done.leftOut.map((x) => x.step)
  const made = withoutRefused(madeOf(is, index, tables), refused)
  return { plan: is, namespace: { made, leftOut: [...left, ...done.leftOut.map((x) => x.why)] } }
}

const openFiles = (): number => openFilesOf(readOr('/proc/self/limits', ''))
/** How many are open; infinitely many where none is left to look with. Linux 6.2 says it as the directory's size. */
const descriptors = (): number => {
  try {
    return statSync('/proc/self/fd').size || readdirSync('/proc/self/fd').length
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
const tcpMemory = (): number =>
  tcpMemoryOf(readOr('/proc/sys/net/ipv4/tcp_mem', ''), readOr('/proc/meminfo', ''))
const fileMax = (): number => {
  const n = Number(readOr('/proc/sys/fs/file-max', '').trim())
  return n > 0 ? n : Number.POSITIVE_INFINITY
}

/** The rules that the port options stand for. */
const forwarding = (p: Plan, ephemeral: PortRange, given: Given, log: Log): ReadonlyArray<Rule> => {
  const { mode, tcp, udp } = p
  const env = {
    mode,
    tcp,
    udp,
    ephemeral,
    v4: p.v4 !== null,
    v6: p.v6 !== null,
    bindToDevice: true,
    given
  }
  const { rules, warnings } = orFatal(forwardRules(env, p.ports))
  for (const w of warnings) log.at('warning', w)
  return rules
}

/** Those that clients of the process whose place we take have made of them; of our options, what that cannot say: see ofTables(). */
const rulesThere = (
  told: ClientPart,
  options: ReadonlyArray<Rule>,
  p: Plan,
  log: Log
): ReadonlyArray<Rule> => {
  const env = { mode: p.mode, tcp: p.tcp, udp: p.udp, v4: p.v4 !== null, v6: p.v6 !== null }
  log.at(
    'info',
    'restart: rules are as they were changed while the other one served, not those of the options'
  )
  const ours = options.filter(isFixed)
  return orFatal(ofTables(env, tablesIn(told, p.mode), ours))
}

/** What a service manager has handed over: the launcher says so where it is for us. */
const listenFds = (): ReadonlyArray<NamedFd> =>
  orFatal(parseListenFds(process.env.LISTEN_FDS, process.env.LISTEN_FDNAMES))

/** What a start ends with that may not listen there; what is no error of the system's stays as it is. */
const cannotListen = (where: string, e: unknown): unknown => {
  const errno = errnoOf(e)
  return errno === 0 ? e : refused(errno, `cannot listen at ${where}: ${reasonText(e)}`)
}

/** What was named must work, of the rest what can be had (machines/forward/bind-verdict.ts). */
const openStrict = (place: ListenPlace, log: Log): ReadonlyArray<BindFailure> => {
  openPaths(place, (path, e) => {
    throw cannotListen(`${path} (--tcp-ports)`, e)
  })
  const failures = openAll(place)
  const warnings = orFatal(bindVerdict(place.rules, failures))
  for (const w of warnings) log.at('warning', w)
  return failures
}

/** This side's own /proc/net files, while they can still be opened. */
const ownProcNet = (): ProcNet => {
  const files = new Map<ProcNetFile, number>()
  for (const name of PROCNET_FILES)
    try {
      files.set(name, openSync(`/proc/self/net/${name}`, 'r'))
    } catch {
      // no IPv6
    }
  return files
}

/** Of the process that serves at this path already; null: none does. */
const whoServes = (native: Native, p: Plan, path: string): Predecessor | null => {
  const found = E.mapLeft(
    (why: string) => `cannot take over from who serves at ${path} (--restart-path): ${why}`
  )(findPredecessor(native, path, p.mode))
  const former = orFatal(found)
  if (former === null) return null
  const ours = p.vhostUser !== null ? 'vhost-user' : p.link !== null ? 'link' : p.spliceOnly ? null : 'tap'
  if ((former.guest?.kind ?? null) !== ours)
    throw misfit(`cannot take over from who serves at ${path}: its guest is reached in another way`)
  if (p.namespace.kind === 'spawn')
    throw misfit(
      `${path}: a pasta serves a namespace there; to take its place, name that: pasta --restart-path ${path} PID`
    )
  return former
}

/** The tap that another process has opened; it must be of the namespace that we have joined. */
const formerTap = (native: Native, l: Launcher, { guest, guestFd }: Predecessor): TapDevice => {
  if (guest?.kind !== 'tap') throw misfit('there is no tap to take over')
  const { index, name, vnet, mac } = guest
  const links = orFatal(readLinks(netlinkIn(l)))
  // Index and name are those of every namespace's first tap; its address is its own
  const now = tried(`look at ${name}`, () => native.tapAddress(guestFd))
  const isThere = (k: (typeof links)[number]): boolean =>
    k.index === index && k.name === name && k.mac === readMac(new DataView(now.buffer, now.byteOffset), 0)
  if (!links.some(isThere))
    throw misfit(`the namespace has no interface ${name}: it is not the one that is served`)
  const octets = new Uint8Array(6)
  writeMac(new DataView(octets.buffer), 0, mac)
  return { fd: guestFd, index, name, vnet, mac: octets }
}

/** Where the link's clients connect, and passt-repair(1), if we want it. */
const formerSockets = ({ guestFd, helpersFd }: Predecessor, p: Plan): InheritedSockets => {
  if (helpersFd === null || p.repairPath !== null) return { clients: guestFd, helpers: helpersFd }
  closeSync(helpersFd)
  return { clients: guestFd, helpers: null }
}

const listenForSuccessor = (native: Native, path: string, former: Predecessor | null): void => {
  tried(`listen at ${path} (--restart-path)`, () => {
    if (former === null) native.handOverListen(path)
    else native.handOverAdopt(former.place)
  })
}

const socketFile = (path: string): SocketFile => ({ path: resolve(path), file: fileAt(path) })
const unlessOver = (socket: SocketFile | null, api: Api | null) => (): SocketFile | null =>
  api?.over() === false ? socket : null
/** Device and inode of what is there. */
const fileAt = (path: string): string | null => {
  const is = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  return is === undefined ? null : `${is.dev}:${is.ino}`
}

/**
 * The socket of the process whose place we take, if it is what is at this path; null: it is not, and is closed. Its file may have been removed,
 * or be another's by now.
 */
const handedAt = (former: HandedSocket | null, path: string | null): number | null => {
  if (former === null) return null
  const same = path !== null && resolve(former.path) === resolve(path)
  if (same && (former.file === null || former.file === fileAt(path))) return former.fd
  closeSync(former.fd)
  return null
}

/** The control socket, in place before privileges go. */
const listenForConf = (native: Native, path: string): void => {
  try {
    native.confListen(path)
  } catch (e) {
    const errno = errnoOf(e)
    if (errno === 0) throw e
    const what = `the control socket ${path} (--conf-path)`
    if (errno === ENAMETOOLONG)
      throw refused(errno, `invalid configuration path: ${what}: ${failureText(errno)}`)
    throw refused(
      errno,
      `cannot listen at ${what}: ${reasonText(e)}${errno === EADDRINUSE ? ': path already in use' : ''}`
    )
  }
}

/** Where clients of the API connect, which its process is told once we serve. */
const listenForApi = (native: Native, path: string): number => {
  try {
    return native.unixListen(path)
  } catch (e) {
    throw cannotListen(`${path} (--api)`, e)
  }
}

/** `helpers`: passt-repair(1) finds us. */
const whatIsHere = (
  l: Launcher,
  p: Plan,
  tap: TapDevice | null,
  helpers: boolean,
  rules: RulesNow,
  api: Api | null
): Here => ({
  mode: p.mode,
  guest:
    p.link !== null
      ? p.vhostUser !== null
        ? { kind: 'vhost-user', helpers }
        : { kind: 'link' }
      : tap === null
        ? null
        : {
            kind: 'tap',
            name: tap.name,
            index: tap.index,
            vnet: tap.vnet,
            mac: readMac(new DataView(tap.mac.buffer, tap.mac.byteOffset), 0)
          },
  // As whoever is elsewhere would name them
  conf: p.confPath === null ? null : socketFile(p.confPath),
  api: unlessOver(p.apiPath === null ? null : socketFile(p.apiPath), api),
  rules,
  left: () => {
    if (p.namespace.kind === 'spawn' || rules.current.some((r) => listensAtPath(r) !== null)) l.leave()
  }
})

/** False: the host is not heard, or the namespace could not follow. */
const mayFollow = (
  native: Native,
  l: Launcher,
  p: Plan,
  tap: TapDevice | null,
  resolver: ReturnType<Launcher['resolver']> | null,
  log: Log
): boolean => {
  const not = (why: string): false => {
    log.at('warning', `the host is not followed: ${why}`)
    return false
  }
  if (p.configNet && tap !== null) {
    const follows = l.follow(tap.index)
    if (E.isLeft(follows)) return not(follows.left.text)
  }
  try {
    native.watchHost(FOLLOWED_GROUPS)
    if (resolver !== null && E.isRight(resolver)) native.hostResolver(resolver.right)
  } catch (e) {
    return not(failureText(errnoOf(e)))
  }
  if (resolver !== null && E.isLeft(resolver))
    log.at('warning', `/etc/resolv.conf is not followed: ${resolver.left.text}`)
  return true
}

const prepare = (given: Options, native: Native, log: Log): Prepared => {
  tried('find our threads in /proc/self/task (is /proc mounted?)', () => statSync('/proc/self/task'))
  const netlink: NetlinkRequest = (request) => native.netlink(request)
  const found = orFatal(readTables(netlink))
  const o = orFatal(withOwnNames(given, found.links))
  const l = launcher(native)
  const who = orFatal(identity(l.names, o.runAs))
  const { tables, notices } = withAskedDefaults(netlink, found, o, who.uid < 0 ? null : who.uid)
  const host = orFatal(deriveHost(tables, o))
  const conf = needsResolvConf(o) ? readResolvConf('/etc/resolv.conf') : E.right(EMPTY_RESOLV_CONF)
  const wanted = orFatal(plan(o, { ...host, notices: [...notices, ...host.notices] }, conf))
  for (const w of wanted.warnings) log.at('warning', w)
  for (const line of wanted.info) log.at('info', line)

  const inherited = orFatal(inheritedFd(l, wanted.link))
  const former = wanted.restartPath === null ? null : whoServes(native, wanted, wanted.restartPath)
  const sockets = givenSockets(native, l, wanted.ports, listenFds(), former?.listeners ?? nothingInherited())
  for (const line of sockets.warnings) log.at('warning', line)
  const life = orFatal(l.setup({ foreground: wanted.foreground, pidFile: wanted.pidFile ?? '' }))
  for (const path of unixTargets(wanted.ports))
    orFatal(
      E.mapLeft((f: LauncherFailure): LauncherFailure => ({ ...f, text: `--tcp-ns: no way to ${f.text}` }))(
        l.unixTarget(path)
      )
    )
  // On the host, whatever namespaces come
  const handedApi = handedAt(former?.api ?? null, wanted.apiPath)
  const apiListener = wanted.apiPath === null ? -1 : (handedApi ?? listenForApi(native, wanted.apiPath))
  const apiFd =
    wanted.apiPath === null
      ? null
      : orFatal(l.api({ who: who.uid < 0 ? null : { uid: who.uid, gid: who.gid } }))
  assume(l, wanted, who, log)
  const resolver = wanted.follow && needsResolvConf(o) ? l.resolver() : null
  const secret = random(16)
  enterNamespace(l, wanted, log)
  const tap =
    wanted.spliceOnly || wanted.link !== null
      ? null
      : former === null
        ? orFatal(l.tap({ vnet: true, ifname: wanted.tapName }))
        : formerTap(native, l, former)
  // What was changed there since the other one came is not ours to change
  const { plan: p, namespace } =
    wanted.namespace.kind === 'none' || former !== null
      ? { plan: wanted, namespace: null }
      : configure(l, wanted, tap, tables, log)

  const counters: Counters = new Map()
  const record = openRecord(native, wanted, log)
  const door = record?.native(native) ?? native
  const rings = tried('set aside what flows need', () => openRings(door, 2 * SIDE_1))
  if (apiFd !== null) tried('watch the process of the API', () => native.apiAdopt(apiFd, apiListener))
  if (record !== null && wanted.recordPayload) native.takePayload()
  if (wanted.pcap !== null)
    openCapture(
      native,
      wanted.pcap,
      wanted.pcapSize,
      `${wanted.mode} ${VERSION}`,
      wanted.link === null ? wanted.tapName : '',
      log
    )
  if (tap !== null) {
    const offloads = tried('use the tap device', () => native.setTap(tap.fd, tap.vnet))
    log.at('debug', `tap ${tap.name} index ${tap.index} vnet ${tap.vnet} offloads 0x${offloads.toString(16)}`)
  }
  // Before the ports, which may take all descriptors that there are
  const opened =
    p.link === null
      ? { says: [], helpers: false }
      : orFatal(
          openGuestLink(
            native,
            p.link,
            p.vhostUser !== null,
            p.repairPath,
            inherited,
            former === null ? null : formerSockets(former, p),
            log
          )
        )
  if (p.restartPath !== null) listenForSuccessor(native, p.restartPath, former)
  const { confPath } = p
  const handedConf = handedAt(former?.conf ?? null, confPath)
  if (confPath !== null) {
    if (handedConf === null) listenForConf(native, confPath)
    else tried('use the control socket', () => native.confAdopt(handedConf, confPath))
    log.at('info', `UNIX domain socket bound at ${confPath}`)
  }
  native.setOutbound(octetsOfText(p.v4?.outboundIf ?? ''), octetsOfText(p.v6?.outboundIf ?? ''))
  const ephemeral = ephemeralPorts()
  const limits = limitsOf(
    { files: openFiles(), fileMax: fileMax(), tcpMemory: tcpMemory(), ephemeral },
    p.limits
  )
  const share = guestPorts(ephemeral, limits.ports)
  const sharedTcpPorts = share === null || native.setPorts(share.first, share.last)
  const told = rulesMayChange(p) ? (former?.rules ?? null) : null
  const options = forwarding(p, ephemeral, sockets.given, log)
  const place = listenPlace(
    door,
    l,
    told === null ? options : rulesThere(told, options, p, log),
    p.freebind,
    sockets.inherited
  )
  const failures = openStrict(place, log)
  for (const line of opened.says) log.at('info', line)
  // Rules that scan may come later
  const mayScan = scans(place.rules) || (rulesMayChange(p) && p.mode === 'pasta')
  const hostFiles: ProcNet = mayScan ? ownProcNet() : new Map()
  const nsFiles: ProcNet = mayScan ? E.getOrElse((): ProcNet => new Map())(l.procNet()) : new Map()
  tried('watch the launcher', () => native.setCtl(CTL_FD))
  const follows = p.follow && mayFollow(native, l, p, tap, resolver, log)
  const neighbours = p.spliceOnly ? null : watchNeighbours(native, neighbourConfig(p), follows, log)
  const links = linksOf(tables.addresses)
  const begun = {
    tap,
    links,
    limits: { ...limits, files: p.limits.files ?? filesBeside(limits.files, openFiles(), descriptors()) },
    sharedTcpPorts,
    bothSides: rulesMayChange(p) || place.rules.some((r) => r.direction === 'in'),
    secret,
    now: Date.now() / 1000
  }
  const cfg = worldConfig(p, { ...begun, macOf: macBy(p.ownMac, neighbours) })
  const world = createWorld(cfg, rings, log, counters, place.listeners, MAX_FLOWS, record?.outside)
  world.links = links
  const scan = mayScan
    ? portScan(place, failures, hostFiles, nsFiles, p.namespace.kind === 'spawn', log, instant(native.now()))
    : null
  closeUnclaimed(place.inherited)
  const client = linkClientOf(inherited)
  const now = rulesNow(place.rules, told !== null)
  const clock = (): number => native.now()
  const scanner =
    scan === null
      ? null
      : { rules: (failed: ReadonlyArray<BindFailure>): void => scan.rules(failed, instant(clock())) }
  const real = rulesDoor(place, scanner, log, clock)
  const rules = { now, door: record?.rules(real) ?? real }
  const api =
    p.apiPath === null ? null : apiOf(world, p, namespace, now, (flows) => native.pairMoved(flows), record)
  const here = p.restartPath === null ? null : whatIsHere(l, p, tap, opened.helpers, now, api)
  const following = !follows
    ? null
    : follow(world, native, {
        options: o,
        plan: p,
        changed: (other) => api?.planned(other),
        configured: api?.configured ?? null,
        host: { host, tables },
        conf,
        uid: who.uid < 0 ? null : who.uid,
        namespace: p.configNet && tap !== null ? { tap: tap.index, request: netlinkIn(l) } : null
      })
  const features = allFeatures(world, p, {
    neighbours,
    host: { plan: p, found: begun },
    follow: following,
    portScan: scan,
    rules,
    client,
    here,
    life,
    api
  })
  install(world.features, record === null ? features : [...features, record.feature(world)])
  const headOf = (text: string | null): RecordHead => ({
    start: startText({
      ...writer(),
      payload: p.recordPayload,
      plan: p,
      found: begun,
      rules: now.current,
      neighbours: neighbours !== null,
      client: inherited
    }),
    world: text,
    rules: now.current
  })
  record?.ways(ruleText, () => E.map(headOf)(worldText(world)))
  if (!p.recordPaused) {
    // With flows of another process: once they are there
    if (former !== null) record?.ask(true)
    else record?.begin(headOf(null))
  }
  return {
    native,
    launcher: l,
    plan: p,
    who,
    world,
    scans: scan !== null || rulesMayChange(p),
    record,
    former,
    client,
    rules: place.rules,
    status: statusText(p, opened.says)
  }
}

function* none(): Generator<void> {}
/** What is done while nothing happens (docs/architecture.md, Warm-up). */
function* warmUpAll({ cfg }: World, p: Plan): Generator<void> {
  if (process.env.PASST_WARM_UP === 'no') return
  yield* warmUp(cfg, p.record === null ? null : recordNowhere)
  if (p.vhostUser !== null) yield* warmUpMoves(cfg)
  if (p.restartPath !== null) yield* warmUpRestart(cfg)
}

/** Its client is ours. One that speaks vhost-user is served so far that its rings only need to run; nothing else is looked at meanwhile. */
const useLink = ({ native, world: w, client }: Prepared, link: LinkTaken): E.Either<string, void> => {
  native.linkOffer(link.client, client.session !== null)
  native.linkResume(link.came, link.unsent, link.session?.fds ?? [])
  client.fd = link.client
  if (client.session === null || link.session === null) return E.right(undefined)
  const fits = client.session.inherit(link.session.messages)
  if (E.isLeft(fits)) return fits
  handOverHold(w.rings, true)
  client.serve(instant(native.now()))
  // A message takes a turn or two
  for (let left = 4 * link.session.messages.length; left > 0; left--) {
    const is = client.session.inherited()
    if (is !== null) return is
    const n = turn(w.rings, 0)
    for (let i = 0; i < n; i++) w.features.takers[kindOf(w.rings.ev, i)](i, instant(w.rings.clock[0]))
  }
  return E.left('its vhost-user session does not become ours')
}

/** All that the process had whose place we take. Then it ends. */
const replace = (former: Predecessor, prepared: Prepared): void => {
  const { native, world, plan: p, client, rules } = prepared
  // It serves meanwhile; what V8 has not compiled would hold everybody up
  for (const _ of warmUpAll(world, p));
  const taken = orFatal(
    E.mapLeft((why: string) => `cannot take over: ${why}; the other one goes on`)(
      takeOver(world, former, rules, (link) => useLink(prepared, link), instant(native.now()))
    )
  )
  const { flows, lost, ended } = taken
  handOverHold(world.rings, false)
  client.session?.goOn(instant(native.now()))
  world.log.at('info', `restart: ${flows} flows taken over, ${lost + ended} ended`)
}

/** `alone`: nobody serves but us. Then an API that has ended is no reason to end; it is told once its end is read. */
const serveApi = (native: Native, keep: boolean, alone: boolean): void => {
  tried('tell the process of the API', () => {
    try {
      native.apiServe(keep)
    } catch (e) {
      if (!alone || errnoOf(e) === 0) throw e
    }
  })
}

/** `started`: what there is to do once it serves. */
const serveUntilEnd = (prepared: Prepared, logging: Logging, started: () => void): void => {
  const { native, launcher: l, plan: p, who, world, scans: binds, record, former, status } = prepared
  const devNull = openSync('/dev/null', 'r+')
  tried('give up privileges (which takes /proc)', () => native.dropPrivileges(who.uid, who.gid))
  tried('confine all threads', () => native.confine(p.tcp && (binds || p.vhostUser !== null), p.tcp))
  const emptied = l.emptyRoot({ byChroot: p.chrootFallback })
  if (E.isLeft(emptied)) world.log.at('warning', `no empty root directory: ${emptied.left.text}`)
  const seal = (): void => {
    if (!tried('install a filter of system calls', () => native.seal()))
      world.log.at('warning', 'this kernel has no seccomp filters: running without')
  }
  // The command starts with ready(), so what can fail comes first; in background standard error has to stay until then
  if (p.foreground) {
    closeSync(devNull)
    seal()
  }
  if (former !== null) replace(former, prepared)
  if (p.apiPath !== null) serveApi(native, p.restartPath !== null, former !== null)
  orFatal(l.ready({ status }))
  started()
  if (!p.foreground) {
    tried('go to the background', () => native.detach(devNull))
    logging.background()
    seal()
  }
  let ended: Ended | null = null
  try {
    ended = loop(world, former === null ? warmUpAll(world, p) : none())
  } finally {
    record?.finish(recordEnd(ended, world.counters))
  }
  native.finishPcap()
  if (world.counters.size > 0) world.log.at('debug', `counters: ${showCounters(world.counters)}`)
  if (ended.why === 'tap-gone') throw refused(ended.errno, tapGone(ended.errno))
}

/** EBADFD: its interface was deleted, with its namespace or alone. */
const tapGone = (errno: number): string =>
  errno === EBADFD ? "the namespace's interface is gone" : `the tap device failed: ${errorText(errno)}`

/** Of an error of Node's file system calls, `open /dev/null: `; else ''. */
const whatFailed = (e: unknown): string =>
  e instanceof Error && 'syscall' in e && 'path' in e ? `${e.syscall} ${e.path}: ` : ''

const failureOf = (e: unknown): Failure => {
  if (e instanceof Fatal) return e.failure
  const errno = errnoOf(e)
  // the system's fault and no bug of ours, so no stack
  if (errno > 0)
    return { kind: 'system', errno, message: `cannot start: ${whatFailed(e)}${failureText(errno)}` }
  if (e instanceof RangeError && /allocation failed/.test(e.message))
    return { kind: 'system', errno: ENOMEM, message: `cannot start: ${failureText(ENOMEM)}` }
  const what = e instanceof Error ? (e.stack ?? e.message) : String(e)
  return { kind: 'internal', errno: 0, message: `internal error: ${what}` }
}

/** What the launcher has opened for --error-fd; null: there is no such option, or no such descriptor. */
const errorReport = (): number | null => {
  const fd = process.env.PASST_ERROR_FD
  return fd === undefined ? null : Number(fd)
}
const report = (fd: number, line: string): void => {
  try {
    writeSync(fd, line)
  } catch {
    // nobody reads it
  }
}

/** The engine's whole life. Started by the launcher, which hands on the exit status. */
export const main = (argv0: string, args: ReadonlyArray<string>): void => {
  let logging: Logging | null = null
  let native: Native | null = null
  let errors = errorReport()
  let status = NOT_STARTED
  const program = argv0.replace(/^.*\//, '')
  compileSooner()
  try {
    native = loadNative() // first: from here on a terminal does not stop us for what we write
    const o = options(argv0, args)
    if (o.errorFd !== null && errors === null) throw misfit(`--error-fd: descriptor ${o.errorFd} is not open`)
    logging = orFatal(openLogging(native, argv0, VERSION, o))
    serveUntilEnd(prepare(o, native, logging.log), logging, () => {
      status = FAULT
      if (errors !== null) closeSync(errors)
      errors = null
    })
    logging.sync()
    native.exit(0)
  } catch (e) {
    const failure = failureOf(e)
    const text = failure.message + (e instanceof Fatal ? e.rest : '')
    logging?.fatal(text)
    logging?.sync()
    writeSync(2, `${program}: ${visibleLines(text)}\n`)
    if (errors !== null) report(errors, reportLine(program, failure, status))
    ;(native ?? process).exit(status)
  }
}
