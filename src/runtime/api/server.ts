import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse
} from 'node:http'
import type { Socket } from 'node:net'
import * as E from 'fp-ts/lib/Either.js'
import type { RuleInfo } from '../../codecs/control/api.js'
import type { AnswerTo, Ask } from './engine-line.js'
import { filterOf, passes } from './filter.js'
import { metrics, OPENMETRICS } from './metrics.js'

// What the API answers (behaviour.md#api, openapi.json). Its clients are not trusted: they have bounded headers, no body, and little time.

/** Connections at a time; further ones are closed at once. */
export const CLIENTS_MAX = 64
const HEADERS_MAX = 8192
/** Requests of a connection that are not answered yet: who sends more without reading is none. */
const PIPELINED_MAX = 16
/** ms: for a request's headers, for a connection on which nothing moves. */
const HEADERS_MS = 5000
const IDLE_MS = 10_000

/** `status`, and a value that becomes JSON. */
const json = (r: ServerResponse, status: number, value: unknown): void => {
  const body = `${JSON.stringify(value)}\n`
  r.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  r.end(r.req.method === 'HEAD' ? undefined : body)
}
const refuse = (r: ServerResponse, status: number, error: string): void => {
  r.setHeader('connection', 'close')
  json(r, status, { error })
}

const allRules = async (ask: Ask): Promise<ReadonlyArray<RuleInfo>> => {
  const rules: RuleInfo[] = []
  for (let from: number | null = 0; from !== null; ) {
    const page: AnswerTo<'rules'> = await ask<'rules'>({ ask: 'rules', from })
    rules.push(...page.rules)
    from = page.next
  }
  return rules
}

/** Page by page, as fast as the client reads. */
const flows = async (ask: Ask, query: URLSearchParams, r: ServerResponse): Promise<void> => {
  const filter = filterOf(query)
  if (E.isLeft(filter)) return refuse(r, 400, filter.left)
  r.writeHead(200, { 'content-type': 'application/json' })
  if (r.req.method === 'HEAD') return void r.end()
  let separator = '{"flows":[\n'
  for (let from: number | null = 0; from !== null && !r.destroyed; ) {
    const page: AnswerTo<'flows'> = await ask<'flows'>({ ask: 'flows', from })
    for (const f of page.flows.filter((flow) => passes(filter.right, flow))) {
      r.write(separator + JSON.stringify(f))
      separator = ',\n'
    }
    from = page.next
    if (r.writableNeedDrain && !r.destroyed) await Promise.race([once(r, 'drain'), once(r, 'close')])
  }
  r.end(separator === ',\n' ? '\n]}\n' : '{"flows":[]}\n')
}

type Route = (ask: Ask, query: URLSearchParams, r: ServerResponse) => Promise<void>
const plain =
  (value: (ask: Ask) => Promise<unknown>): Route =>
  async (ask, query, r) => {
    if (query.size > 0) return refuse(r, 400, 'no query is understood here')
    json(r, 200, await value(ask))
  }
const ROUTES: Readonly<Record<string, Route>> = {
  '/v1/status': plain(async (ask) => (await ask<'status'>({ ask: 'status' })).status),
  '/v1/counters': plain(async (ask) => (await ask<'counters'>({ ask: 'counters' })).counters),
  '/v1/rules': plain(async (ask) => ({ rules: await allRules(ask) })),
  '/v1/flows': flows,
  '/metrics': async (ask, _, r) => {
    const { status } = await ask<'status'>({ ask: 'status' })
    const { counters } = await ask<'counters'>({ ask: 'counters' })
    const text = metrics(status, counters, await allRules(ask))
    r.writeHead(200, { 'content-type': OPENMETRICS, 'content-length': Buffer.byteLength(text) })
    r.end(r.req.method === 'HEAD' ? undefined : text)
  }
}

const hasBody = (q: IncomingMessage): boolean =>
  q.headers['transfer-encoding'] !== undefined || Number(q.headers['content-length'] ?? 0) !== 0

const answer = (
  ask: Ask,
  routes: Readonly<Record<string, Route>>,
  q: IncomingMessage,
  r: ServerResponse
): void => {
  if (hasBody(q)) return refuse(r, 413, 'a request has no body here')
  const [path = '', ...query] = (q.url ?? '').split('?')
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  if (route === undefined) return refuse(r, 404, 'there is nothing of that name')
  if (q.method !== 'GET' && q.method !== 'HEAD') {
    r.setHeader('allow', 'GET, HEAD')
    return refuse(r, 405, 'nothing can be changed here')
  }
  route(ask, new URLSearchParams(query.join('?')), r).catch(() => r.destroy())
}

/** `take`, for so many requests of a connection at a time; those behind them in the same octets are nobody's. */
const bounded = (take: RequestListener): RequestListener => {
  const waiting = new WeakMap<Socket, number>()
  return (q, r) => {
    const { socket } = q
    const n = waiting.get(socket) ?? 0
    if (n >= PIPELINED_MAX) return void socket.destroy()
    waiting.set(socket, n + 1)
    r.on('close', () => waiting.set(socket, (waiting.get(socket) ?? 1) - 1))
    take(q, r)
  }
}

/** To be told where it listens. `openapi`: the document, JSON. */
export const apiServer = (ask: Ask, openapi: unknown): Server => {
  const routes = { ...ROUTES, '/v1/openapi.json': plain(async () => openapi) }
  const take = bounded((q, r) => answer(ask, routes, q, r))
  const server = createServer(
    {
      maxHeaderSize: HEADERS_MAX,
      headersTimeout: HEADERS_MS,
      requestTimeout: IDLE_MS,
      keepAliveTimeout: HEADERS_MS,
      connectionsCheckingInterval: 1000,
      requireHostHeader: false
    },
    take
  )
  server.maxConnections = CLIENTS_MAX
  server.setTimeout(IDLE_MS, (socket) => socket.destroy())
  server.on('checkContinue', take)
  server.on('clientError', (e: NodeJS.ErrnoException, socket) => {
    if (!socket.writable || e.code === 'ECONNRESET') return socket.destroy()
    const status =
      e.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
    const body = '{"error":"this is no request"}\n'
    socket.end(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`
    )
  })
  return server
}
