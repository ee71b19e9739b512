import { readFileSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import type { RunAs } from '../cli/option-values.js'
import type { Launcher } from './launcher.js'

/** Whom the engine becomes; -1: it stays who it is. */
export interface Identity {
  readonly uid: number
  readonly gid: number
}

/** Launcher.names. */
type Names = Launcher['names']

/** Root of the initial user namespace: its map is the identity over all ids (user_namespaces(7)). */
const isInitialRoot = (): boolean => {
  if (process.geteuid?.() !== 0) return false
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'))
  } catch {
    return true
  }
}

/** Where there is no nobody: the kernel's overflow ids. */
const NOBODY: Identity = { uid: 65534, gid: 65534 }
const nobody = (names: Names): Identity => E.getOrElse(() => NOBODY)(names({ user: 'nobody', group: '' }))

/** The addon and the launcher take ids of 31 bits. */
const ID_MAX = 0x7fffffff
const checked = (who: Identity): E.Either<string, Identity> => {
  const isId = (n: number): boolean => Number.isInteger(n) && n >= 0 && n <= ID_MAX
  const { uid, gid } = who
  if (!isId(uid) || !isId(gid)) return E.left(`cannot run as user ${uid}, group ${gid}: not an id`)
  const isSelf = uid === process.geteuid?.() && gid === process.getegid?.()
  return isSelf || process.geteuid?.() === 0
    ? E.right(who)
    : E.left(`cannot run as user ${uid}, group ${gid}: only root may become somebody else`)
}

/** A number is taken as it is, whether or not anybody has it; alone it is the group's, too. */
const lookUp = (names: Names, { user, group }: RunAs): E.Either<string, Identity> => {
  const text = (id: string | number | null): string => (typeof id === 'string' ? id : '')
  const asked = { user: text(user), group: text(group) }
  const found = asked.user === '' && asked.group === '' ? E.right({ uid: 0, gid: 0 }) : names(asked)
  if (E.isLeft(found)) return E.left(found.left.text)
  const { uid, gid } = found.right
  if (typeof user === 'number')
    return checked({ uid: user, gid: group === null ? user : typeof group === 'number' ? group : gid })
  if (uid === 0) return E.left('will not run as a user with root privileges')
  return checked({ uid, gid: typeof group === 'number' ? group : gid })
}

/** --runas, else nobody for root where it means something, else nothing (passt(1), --runas). Left: a message. */
export const identity = (names: Names, runAs: RunAs | null): E.Either<string, Identity> =>
  runAs !== null ? lookUp(names, runAs) : E.right(isInitialRoot() ? nobody(names) : { uid: -1, gid: -1 })
