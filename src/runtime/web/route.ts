import { createHash, timingSafeEqual } from 'node:crypto'

// What a request to the page's server is answered. Anybody on this host can connect to it, and any page in the user's browser can make
// that connect (RFC 9110 §17.1): who does not know the token is told nothing, not even that there is one.

/** Whose server it is. */
export interface Own {
  /** 128 random bits as hexadecimal digits: the first part of each path. */
  readonly token: string
  readonly port: number
}
export interface Request {
  readonly method: string
  readonly url: string
  /** undefined: it has none. */
  readonly host: string | undefined
}
export type Route =
  | { readonly tag: 'Page' }
  /** To be asked of the API, by this path. A stream ends when its client does. */
  | { readonly tag: 'Ask'; readonly path: string; readonly type: string; readonly isStream: boolean }
  | { readonly tag: 'Refuse'; readonly status: 404 | 405; readonly error: string }

const JSON_TYPE = 'application/json'
/** All that is passed on; none of it changes anything. */
const ASKED: Readonly<Record<string, { readonly type: string; readonly isStream: boolean }>> = {
  '/v1/status': { type: JSON_TYPE, isStream: false },
  '/v1/rules': { type: JSON_TYPE, isStream: false },
  '/v1/counters': { type: JSON_TYPE, isStream: false },
  '/v1/flows': { type: JSON_TYPE, isStream: false },
  '/v1/events': { type: 'application/x-ndjson', isStream: true }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
/** In a time that tells nothing of where they differ. */
const same = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b))
/**
 * Another name is that of a page which has our address given to its own (DNS rebinding), and so reads what we answer. `localhost` is never
 * asked of the DNS (RFC 6761 §6.3).
 */
const isOurs = (host: string | undefined, port: number): boolean =>
  ['127.0.0.1', 'localhost'].some((name) => host === `${name}:${port}` || (port === 80 && host === name))

const NOTHING: Route = { tag: 'Refuse', status: 404, error: 'there is nothing of that name' }
export const routeOf = ({ method, url, host }: Request, { token, port }: Own): Route => {
  const [, given = '', rest] = /^\/([^/]*)(\/.*)?$/.exec(url) ?? []
  if (!same(given, token) || !isOurs(host, port) || rest === undefined) return NOTHING
  const asked = Object.hasOwn(ASKED, rest) ? ASKED[rest] : undefined
  if (asked === undefined && rest !== '/') return NOTHING
  if (method !== 'GET') return { tag: 'Refuse', status: 405, error: 'that is not done here' }
  return asked === undefined ? { tag: 'Page' } : { tag: 'Ask', path: rest, ...asked }
}
