import { type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { pipeline } from 'node:stream'
import { carefulServer } from '../api/careful-server.js'
import type { Document } from '../replay/document.js'
import { type Own, type Route, routeOf } from './route.js'

// passt-ctl web: the page, and what it asks of the API (route.ts), over TCP on the loopback.

const HOST = '127.0.0.1'
/** Connections at a time; what is asked of the API at a time, and how many of that follow events: the API has 64 for everybody. */
const CLIENTS_MAX = 32
const ASKED_MAX = 8
const STREAMS_MAX = 4
/** ms: for a connection on which nothing moves; for an answer of the API. Both are longer than what it is silent on a stream. */
const IDLE_MS = 30_000
const ANSWER_MS = 10_000
/** ms from one look whether the API is there to the next one; for the last line of streams to be read. */
const LOOK_MS = 2000
const LINGER_MS = 500

/** Of a stream that has ended with the program that is shown. */
const OVER = '{"event":"over"}\n'

/** Of whatever is answered. The address is a secret: it is told to nobody, and no other page gets at what is there (Fetch, CORP; HTML, COOP). */
const CLOSED: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'x-frame-options': 'DENY'
}

const refuse = (r: ServerResponse, status: number, error: string): void => {
  const body = `${JSON.stringify({ error })}\n`
  r.writeHead(status, {
    ...CLOSED,
    ...(status === 405 ? { allow: 'GET' } : {}),
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    connection: 'close'
  })
  r.end(body)
}

/** Nobody listens there any more. Of other errors it is not known. */
const isGone = (e: NodeJS.ErrnoException): boolean => e.code === 'ECONNREFUSED' || e.code === 'ENOENT'

export interface Web {
  /** http://127.0.0.1:PORT/TOKEN/ */
  readonly url: string
  readonly close: () => void
}
export interface WebOptions {
  readonly socketPath: string
  /** 0: the kernel's choice. */
  readonly port: number
  readonly token: string
  readonly page: Document
  /** Whose API it was is there no more; nothing is answered from here on. */
  readonly over: () => void
}
/** Once it listens. Rejects: it cannot. */
export const webServer = ({ socketPath, port, token, page, over }: WebOptions): Promise<Web> => {
  const streams = new Set<ServerResponse>()
  let asked = 0
  let followed = 0
  let isOver = false
  let own: Own = { token, port }

  const ended = (): void => {
    if (isOver) return
    isOver = true
    clearInterval(looks)
    for (const r of streams) if (!r.writableEnded) r.end(OVER)
    setTimeout(() => {
      server.closeAllConnections()
      over()
    }, LINGER_MS)
  }
  const look = (): void => {
    const s = connect(socketPath, () => s.destroy())
    s.on('error', (e) => {
      if (isGone(e)) ended()
    })
  }
  const failed = (r: ServerResponse): void => {
    look()
    if (r.headersSent) r.destroy()
    else refuse(r, 502, 'the API does not answer')
  }
  const pass = (
    r: ServerResponse,
    { type, isStream }: Extract<Route, { tag: 'Ask' }>,
    a: IncomingMessage
  ) => {
    if (a.statusCode !== 200) {
      a.resume()
      return refuse(r, 502, `the API refuses that: ${a.statusCode}`)
    }
    r.writeHead(200, { ...CLOSED, 'content-type': type })
    if (!isStream) return void pipeline(a, r, (e) => (e === undefined ? undefined : look()))
    r.flushHeaders()
    streams.add(r)
    r.on('close', () => streams.delete(r))
    // It has a last line of ours, so its end is not that of what it is made of
    a.on('data', (d) => {
      if (!r.writableEnded && !r.write(d)) {
        a.pause()
        r.once('drain', () => a.resume())
      }
    })
    const broken = (): void => {
      look()
      if (!isOver) setTimeout(() => r.end(), LINGER_MS)
    }
    a.on('error', broken)
    a.on('end', broken)
  }
  const ask = (r: ServerResponse, route: Extract<Route, { tag: 'Ask' }>): void => {
    if (isOver) return refuse(r, 502, 'the program has ended')
    if (asked >= ASKED_MAX || (route.isStream && followed >= STREAMS_MAX))
      return refuse(r, 503, 'too many ask at a time')
    const streamed = route.isStream ? 1 : 0
    asked++
    followed += streamed
    const q = request({ socketPath, path: route.path, agent: false }, (a) => {
      q.setTimeout(0)
      pass(r, route, a)
    })
    q.setTimeout(ANSWER_MS, () => q.destroy(new Error('no answer')))
    q.on('error', () => failed(r))
    q.on('close', () => {
      asked--
      followed -= streamed
    })
    r.on('close', () => q.destroy())
    q.end()
  }
  const server: Server = carefulServer(
    (q, r) => {
      const route = routeOf({ method: q.method ?? '', url: q.url ?? '', host: q.headers.host }, own)
      if (route.tag === 'Refuse') return refuse(r, route.status, route.error)
      if (route.tag === 'Ask') return ask(r, route)
      r.writeHead(200, {
        ...CLOSED,
        'content-type': 'text/html; charset=utf-8',
        'content-length': Buffer.byteLength(page.html),
        'content-security-policy': `${page.policy}; frame-ancestors 'none'`
      })
      r.end(page.html)
    },
    { clients: CLIENTS_MAX, idleMs: IDLE_MS }
  )
  const looks = setInterval(look, LOOK_MS)
  const close = (): void => {
    clearInterval(looks)
    server.close()
    server.closeAllConnections()
  }
  return new Promise((resolve, reject) => {
    server.on('error', (e) => {
      clearInterval(looks)
      reject(e)
    })
    server.listen({ host: HOST, port }, () => {
      own = { token, port: (server.address() as AddressInfo).port }
      resolve({ url: `http://${HOST}:${own.port}/${token}/`, close })
    })
  })
}
