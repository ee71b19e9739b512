import { readFileSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import type { RunAs } from './option-values.js'

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

const NOBODY: Identity = { uid: 65534, gid: 65534 }

const lookUp = ({ user, group }: RunAs): E.Either<string, Identity> => {
  const login = typeof user === 'string' ? entry('/etc/passwd', user) : undefined
  if (typeof user === 'string' && login === undefined) return E.left(`no such user: ${user}`)
  const uid = typeof user === 'number' ? user : Number(login?.[2])
  if (typeof user === 'string' && uid === 0) return E.left('will not run as a user with root privileges')
  if (typeof group === 'number') return E.right({ uid, gid: group })
  if (group === null) return E.right({ uid, gid: login === undefined ? uid : Number(login[3]) })
  const named = entry('/etc/group', group)
  return named === undefined ? E.left(`no such group: ${group}`) : E.right({ uid, gid: Number(named[2]) })
}

/** --runas, else nobody for root where it means something, else nothing (passt(1), --runas). Left: a message. */
export const identity = (runAs: RunAs | null): E.Either<string, Identity> =>
  runAs !== null ? lookUp(runAs) : E.right(isInitialRoot() ? NOBODY : { uid: -1, gid: -1 })
