import { readFileSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import type { RunAs } from '../cli/option-values.js'

/** Whom the engine becomes; -1: it stays who it is. */
export interface Identity {
  readonly uid: number
  readonly gid: number
}

/** Colon-separated entry of passwd(5) or group(5) with this name. */
const entry = (file: string, name: string): ReadonlyArray<string> | undefined => {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .map((l) => l.split(':'))
      .find(([n]) => n === name)
  } catch {
    return undefined
  }
}

/** Root of the initial user namespace: its map is the identity over all ids (user_namespaces(7)). */
const isInitialRoot = (): boolean => {
  if (process.geteuid?.() !== 0) return false
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'))
  } catch {
    return true
  }
}

/** Where passwd(5) has no nobody: the kernel's overflow ids. */
const NOBODY: Identity = { uid: 65534, gid: 65534 }
const nobody = (): Identity => {
  const e = entry('/etc/passwd', 'nobody')
  return e === undefined ? NOBODY : { uid: Number(e[2]), gid: Number(e[3]) }
}

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

const lookUp = ({ user, group }: RunAs): E.Either<string, Identity> => {
  const login = typeof user === 'string' ? entry('/etc/passwd', user) : undefined
  if (typeof user === 'string' && login === undefined) return E.left(`no such user: ${user}`)
  const uid = typeof user === 'number' ? user : Number(login?.[2])
  if (typeof user === 'string' && uid === 0) return E.left('will not run as a user with root privileges')
  if (typeof group === 'number') return checked({ uid, gid: group })
  if (group === null) return checked({ uid, gid: login === undefined ? uid : Number(login[3]) })
  const named = entry('/etc/group', group)
  return named === undefined ? E.left(`no such group: ${group}`) : checked({ uid, gid: Number(named[2]) })
}

/** --runas, else nobody for root where it means something, else nothing (passt(1), --runas). Left: a message. */
export const identity = (runAs: RunAs | null): E.Either<string, Identity> =>
  runAs !== null ? lookUp(runAs) : E.right(isInitialRoot() ? nobody() : { uid: -1, gid: -1 })
