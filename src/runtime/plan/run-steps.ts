import * as E from 'fp-ts/lib/Either.js'
import { EACCES, EAFNOSUPPORT, EOPNOTSUPP } from '../../codecs/value/errno.js'
import type { InAny } from '../../codecs/value/inany.js'
import { ask, type NetlinkFailure, type NetlinkRequest } from '../host/host.js'
import { linkLocalsOf, type Step } from './config-net.js'

export interface Configured {
  /** The namespace's own link-local address on the tap, or null. */
  readonly linkLocal: InAny | null
  /** IP versions that the namespace's kernel does not have: treat them as off. */
  readonly missing: ReadonlyArray<'v4' | 'v6'>
  readonly warnings: ReadonlyArray<string>
  /** What was optional, and why it is not there. */
  readonly leftOut: ReadonlyArray<{ readonly step: Step; readonly why: string }>
}

/** A family the namespace has no use for; IPv6 addresses are refused with EACCES where disable_ipv6 is set. */
const isMissing = (errno: number, of: 'v4' | 'v6'): boolean =>
  errno === EOPNOTSUPP || errno === EAFNOSUPPORT || (of === 'v6' && errno === EACCES)

interface Failed extends NetlinkFailure {
  readonly step: Step
}

/** Steps that wait for others of their kind: as long as one of them gets through, the others are tried again. */
const takeGroup = (
  take: (s: Step) => E.Either<NetlinkFailure, unknown>,
  group: ReadonlyArray<Step>
): ReadonlyArray<Failed> => {
  const refused: Failed[] = []
  for (let waiting = group; ; ) {
    const failed = waiting.flatMap((s): ReadonlyArray<Failed> => {
      const r = take(s)
      return E.isLeft(r) && !s.tolerate.includes(r.left.errno) ? [{ step: s, ...r.left }] : []
    })
    const again = failed.filter((f) => f.step.retry.includes(f.errno))
    refused.push(...failed.filter((f) => !again.includes(f)))
    if (again.length === 0 || again.length === waiting.length) return [...refused, ...again]
    waiting = again.map((f) => f.step)
  }
}

/** `steps` cut into runs: neighbours that can wait for one another together, the others alone. */
const groupsOf = (steps: ReadonlyArray<Step>): ReadonlyArray<ReadonlyArray<Step>> => {
  const groups: Step[][] = []
  for (const s of steps) {
    const last = groups[groups.length - 1]
    const waits = s.retry.length > 0 && (last?.[0]?.retry.length ?? 0) > 0
    if (last !== undefined && waits && last[0]?.family === s.family) last.push(s)
    else groups.push([s])
  }
  return groups
}

/**
 * Carry the steps out. What is optional and refused is left out with a warning; so is an IP version that the namespace
 * lacks, unless `required`. Left: the step that failed otherwise, and why.
 */
export const runSteps = (
  request: NetlinkRequest,
  steps: ReadonlyArray<Step>,
  tap: number,
  required: ReadonlyArray<'v4' | 'v6'> = []
): E.Either<string, Configured> => {
  let out: Configured = { linkLocal: null, missing: [], warnings: [], leftOut: [] }
  const warn = (text: string): void => {
    out = { ...out, warnings: [...out.warnings, text] }
  }
  const take = (s: Step): E.Either<NetlinkFailure, ReadonlyArray<Step>> => {
    const answer = ask(request)(s.request)
    if (E.isLeft(answer)) return answer
    if (s.next === null) return E.right([])
    out = { ...out, linkLocal: linkLocalsOf(answer.right, tap)[0]?.address ?? out.linkLocal }
    return E.right(s.next(answer.right))
  }
  const run = (all: ReadonlyArray<Step>): E.Either<string, void> => {
    for (const group of groupsOf(all)) {
      const of = group[0]?.family ?? null
      if (of !== null && out.missing.includes(of)) continue
      let next: ReadonlyArray<Step> = []
      const failed = takeGroup((s) => {
        const r = take(s)
        if (E.isRight(r)) next = [...next, ...r.right]
        return r
      }, group)
      for (const f of failed) {
        const label = of === 'v6' ? 'IPv6' : 'IPv4'
        if (of !== null && isMissing(f.errno, of) && !required.includes(of)) {
          warn(`no ${label} in the namespace (${f.message})`)
          out = { ...out, missing: [...out.missing, of] }
          break
        }
        if (f.step.optional === null || (of !== null && isMissing(f.errno, of)))
          return E.left(`cannot ${f.step.what}: ${f.message}`)
        const why = `${f.step.optional}: ${f.message}`
        out = { ...out, leftOut: [...out.leftOut, { step: f.step, why }] }
        warn(`left out ${why}`)
      }
      const rest = run(next)
      if (E.isLeft(rest)) return rest
    }
    return E.right(undefined)
  }
  const done = run(steps)
  return E.isLeft(done) ? done : E.right(out)
}
