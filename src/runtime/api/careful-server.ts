import { createServer, type RequestListener, type Server } from 'node:http'
import type { Socket } from 'node:net'

// An HTTP server for clients that are not trusted: they have bounded headers, little time, and few requests at once.

const HEADERS_MAX = 8192
/** Requests of a connection that are not answered yet: who sends more without reading is none. */
const PIPELINED_MAX = 16
/** ms: for a request's headers, and from an answer to the next request. */
const HEADERS_MS = 5000

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

export interface Bounds {
  /** Connections at a time; further ones are closed at once. */
  readonly clients: number
  /** ms: for a connection on which nothing moves. */
  readonly idleMs: number
}
/** To be told where it listens. */
export const carefulServer = (take: RequestListener, { clients, idleMs }: Bounds): Server => {
  const taken = bounded(take)
  const server = createServer(
    {
      maxHeaderSize: HEADERS_MAX,
      headersTimeout: HEADERS_MS,
      requestTimeout: idleMs,
      keepAliveTimeout: HEADERS_MS,
      connectionsCheckingInterval: 1000,
      requireHostHeader: false
    },
    taken
  )
  server.maxConnections = clients
  server.setTimeout(idleMs, (socket) => socket.destroy())
  server.on('checkContinue', taken)
  server.on('clientError', (e: NodeJS.ErrnoException, socket) => {
    if (!socket.writable || e.code === 'ECONNRESET') return socket.destroy()
    const status =
      e.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
    const body = '{"error":"this is no request"}\n'
    // Who goes on sending would keep its place for ever
    socket.end(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      () => socket.destroy()
    )
  })
  return server
}
