import { getSystemErrorMap } from 'node:util'

/** What an errno(3) means, as `ENETUNREACH, network is unreachable`. */
export const errorText = (errno: number): string => {
  const known = getSystemErrorMap().get(-errno)
  return known === undefined ? `error ${errno}` : `${known[0]}, ${known[1]}`
}

const FILTER = 'a filter of system calls may refuse it, that of a container or service for instance'
/** What to do about it, where that is known; native/common/fault.h has the same words, but for the filter's. */
const ADVICE: ReadonlyMap<number, string> = new Map([
  [1, FILTER],
  [11, 'a limit may be reached, of processes for instance: ulimit -u'],
  [
    12,
    'more memory is needed than there is, or than ulimit -v and the limit of a container or service allow'
  ],
  [23, 'sysctl fs.file-max'],
  [24, 'ulimit -Hn'],
  [27, 'a limit may be reached: ulimit -f'],
  [38, FILTER]
])

/** What it means when a system call fails in this way, and what to do. */
export const failureText = (errno: number): string => {
  const advice = ADVICE.get(errno)
  return advice === undefined ? errorText(errno) : `${errorText(errno)} (${advice})`
}

/** Of an error of the addon or of Node's file system calls; 0: it is none of them, and so none of the system's. */
export const errnoOf = (e: unknown): number =>
  e instanceof Error && 'errno' in e && Number.isInteger(e.errno) ? Math.abs(Number(e.errno)) : 0

/** Why something thrown was thrown: an error of Node's system calls in our words, the addon's in its own, without its function's name. */
export const reasonText = (e: unknown): string => {
  if (!(e instanceof Error)) return String(e)
  if ('syscall' in e) return failureText(errnoOf(e))
  return 'errno' in e ? e.message.replace(/^\w+: /, '') : e.message
}
