import { closeSync, constants, openSync, readSync } from 'node:fs'
import { getSystemErrorMap } from 'node:util'
import * as E from 'fp-ts/lib/Either.js'
import { EMPTY_RESOLV_CONF, ResolvConf } from '../../codecs/text/resolv-conf.js'

/** Octets; far more than any that was written for a resolver. */
const LONGEST = 1 << 20

/** errno(3), as Node has it; its own words for this one name no file. */
const EISDIR = -21
/** In the words of strerror(3). */
const reasonOf = (e: unknown): string => {
  const errno = typeof e === 'object' && e !== null && 'errno' in e ? Number(e.errno) : 0
  if (errno === EISDIR) return 'it is a directory'
  return getSystemErrorMap().get(errno)?.[1] ?? String(e)
}

/** Up to `most` octets, whatever kind of file that is: a pipe is not waited for. Throws an error of node:fs. */
const readSome = (path: string, most: number): Buffer => {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  try {
    const into = Buffer.allocUnsafe(most)
    let at = 0
    for (let n = 1; n > 0 && at < most; at += n) n = readSync(fd, into, at, most - at, null)
    return into.subarray(0, at)
  } finally {
    closeSync(fd)
  }
}

/** Left: why there is nothing to be had of it, in words that fit into brackets. */
export const readResolvConf = (path: string): E.Either<string, ResolvConf> =>
  E.chain(
    (b: Buffer): E.Either<string, ResolvConf> =>
      b.length > LONGEST
        ? E.left(`longer than ${LONGEST} octets`)
        : E.right(E.getOrElse(() => EMPTY_RESOLV_CONF)(ResolvConf.decode(b.toString('utf8'))))
  )(E.tryCatch(() => readSome(path, LONGEST + 1), reasonOf))
