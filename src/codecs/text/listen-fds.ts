import * as E from 'fp-ts/lib/Either.js'

// Sockets that a service manager hands over with the start of a program: sd_listen_fds(3).

/** SD_LISTEN_FDS_START: what is below are standard streams. */
export const MIN_FD = 3
export const MAX_FD = 0x7fffffff
const MAX_NAME = 255
/** Where nobody named them. */
const UNNAMED = 'unknown'

/** Printable ASCII but for colons, and not too long (systemd.socket(5), FileDescriptorName=). */
export const isFdName = (s: string): boolean => /^[ -9;-~]+$/.test(s) && s.length <= MAX_NAME

export interface NamedFd {
  readonly fd: number
  readonly name: string
}

/**
 * LISTEN_FDS and LISTEN_FDNAMES, undefined: not there. Right: descriptors MIN_FD and up, `unknown` where no names were given.
 * Left: why they are not what sd_listen_fds(3) says: no number, more than there can be, as many names as there are not descriptors, an
 * invalid name.
 */
export const parseListenFds = (
  count: string | undefined,
  names: string | undefined
): E.Either<string, ReadonlyArray<NamedFd>> => {
  if (count === undefined) return E.right([])
  const n = /^[0-9]{1,9}$/.test(count) ? Number(count) : -1
  if (n < 0 || n > MAX_LISTEN_FDS) return E.left(`LISTEN_FDS is '${count}'`)
  const list = names === undefined ? null : names.split(':')
  if (list !== null && list.length !== n && !(n === 0 && names === ''))
    return E.left(`LISTEN_FDNAMES has ${list.length} names for ${n} descriptors`)
  const odd = n === 0 ? undefined : list?.find((name) => name !== '' && !isFdName(name))
  if (odd !== undefined) return E.left(`LISTEN_FDNAMES has the name '${odd}'`)
  return E.right(Array.from({ length: n }, (_, i) => ({ fd: MIN_FD + i, name: list?.[i] ?? UNNAMED })))
}
/** Ours: an environment that says more is none. */
const MAX_LISTEN_FDS = 65_536
