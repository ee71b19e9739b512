import * as E from 'fp-ts/lib/Either.js'
import { showRange } from '../../codecs/text/port-spec.js'
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENODEV
} from '../../codecs/value/errno.js'
import { isV4, showAddr } from '../../codecs/value/inany.js'
import type { Rule } from './forward-rules.js'

// Which ports may be missing. A port that somebody named has to work; of `all`, exclusions alone and `auto` what can be
// had is enough, but of the first two not nothing at all: that is counted over the whole specification, not range by
// range (behaviour.md#port-forwarding).

/** A listener that could not be opened. `rule`: index into the rules. */
export interface BindFailure {
  readonly rule: number
  readonly port: number
  readonly errno: number
}

const WHY: ReadonlyMap<number, string> = new Map([
  [EADDRINUSE, 'Address already in use'],
  [EADDRNOTAVAIL, 'Cannot assign requested address (--freebind listens nevertheless)'],
  [ENODEV, 'No such device'],
  [EAFNOSUPPORT, 'Address family not supported by protocol'],
  [EMFILE, 'Too many open files, raise the hard limit (ulimit -Hn, RLIMIT_NOFILE)'],
  [ENFILE, 'Too many open files in system (sysctl fs.file-max)'],
  [ENOBUFS, 'No buffer space available']
])

/**
 * Why a port could not be had, and what helps. errno(3), Linux numbers, in the words of strerror(3): people and the programs
 * that start us look for those.
 */
export const bindReason = (errno: number, port: number): string =>
  errno === EACCES && port < 1024
    ? `Permission denied (sysctl net.ipv4.ip_unprivileged_port_start=${port} allows it)`
    : (WHY.get(errno) ?? (errno === EACCES ? 'Permission denied' : `error ${errno}`))

const nameOf = (r: Rule, ports: string): string => {
  const address = r.bind === null ? '' : `${showAddr(r.bind)} `
  const device = r.ifname === null ? '' : `on ${r.ifname} `
  return `${address}${device}${r.proto.toUpperCase()} port ${ports}${r.direction === 'out' ? ' in the namespace' : ''}`
}

/** Failures of one rule, ports ascending, in runs of the same error, so that `all` does not give 65535 lines. */
export const failureLines = (
  r: Rule,
  failures: ReadonlyArray<Omit<BindFailure, 'rule'>>
): ReadonlyArray<string> => {
  const runs: { first: number; last: number; readonly errno: number }[] = []
  for (const f of [...failures].sort((a, b) => a.port - b.port)) {
    const run = runs[runs.length - 1]
    if (run !== undefined && run.errno === f.errno && f.port <= run.last + 1) run.last = f.port
    else runs.push({ first: f.port, last: f.port, errno: f.errno })
  }
  return runs.map((run) => `cannot listen: ${nameOf(r, showRange(run))}: ${bindReason(run.errno, run.first)}`)
}

const sameSpec = (a: Rule, b: Rule): boolean =>
  a.proto === b.proto && a.direction === b.direction && a.spec === b.spec

/**
 * 127.0.0.1 and ::1 stand for one listener where the interface cannot be bound to; a namespace that lacks one IP version
 * is served in the other (#regression-88).
 */
const servedByOther = (
  rules: ReadonlyArray<Rule>,
  f: BindFailure,
  own: ReadonlyArray<ReadonlyArray<BindFailure>>
): boolean => {
  const r = rules[f.rule]!
  if (r.direction !== 'out' || r.ifname !== null || r.bind === null) return false
  if (f.errno !== EADDRNOTAVAIL && f.errno !== EAFNOSUPPORT) return false
  return rules.some(
    (o, i) =>
      sameSpec(o, r) &&
      o.bind !== null &&
      isV4(o.bind) !== isV4(r.bind!) &&
      o.first <= f.port &&
      f.port <= o.last &&
      !own[i]!.some((one) => one.port === f.port)
  )
}

/** Why not to start, in one line, and the errno(3) of the port that it names. */
export interface CannotListen {
  readonly errno: number
  readonly text: string
}

/** After every port of every rule that does not scan was tried once. Right: lines at level warning. */
export const bindVerdict = (
  rules: ReadonlyArray<Rule>,
  failures: ReadonlyArray<BindFailure>
): E.Either<CannotListen, ReadonlyArray<string>> => {
  // Of 'all', tens of thousands may fail while traffic waits: each is looked at a few times, and nothing is made of it
  const byRule: BindFailure[][] = rules.map(() => [])
  for (const f of failures) byRule[f.rule]!.push(f)
  const fatal = failures.find((f) => !rules[f.rule]!.weak && !servedByOther(rules, f, byRule))
  if (fatal !== undefined)
    return E.left({ errno: fatal.errno, text: failureLines(rules[fatal.rule]!, [fatal])[0]! })
  const warnings: string[] = []
  for (const [index, r] of rules.entries()) {
    const own = byRule[index]!
    if (own.length === 0) continue
    let wanted = 0
    let missing = 0
    for (const [i, o] of rules.entries()) {
      if (!sameSpec(o, r)) continue
      wanted += o.last - o.first + 1
      missing += byRule[i]!.length
    }
    if (r.weak && !r.scan && missing >= wanted)
      return E.left({ errno: own[0]!.errno, text: `none of the ports works: ${failureLines(r, own)[0]!}` })
    warnings.push(...failureLines(r, own))
  }
  return E.right(warnings)
}
