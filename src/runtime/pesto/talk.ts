import { createConnection, type Socket } from 'node:net'
import { getSystemErrorMap } from 'node:util'
import {
  type ClientPart,
  type ConfReader,
  clientPart,
  isWhole,
  readOn,
  type ServerPart,
  serverReader
} from '../../codecs/control/conf.js'

// One connection to a control socket.

/** What went wrong, for people. */
export class Trouble extends Error {}

/** The server is alone with its work if another client was faster, so this may take some time. ms. */
const ANSWER_WAIT = 60_000
/** ms between attempts where the socket's queue is full. */
const AGAIN = 20
const ATTEMPTS = 500

export interface Talk {
  readonly server: ServerPart
  /** Without a request: the connection ends. With one: until the server has ended it. */
  readonly end: (request: ClientPart | null) => Promise<void>
}

const connected = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createConnection({ path, allowHalfOpen: true })
    socket.once('connect', () => {
      socket.removeAllListeners('error')
      resolve(socket)
    })
    socket.once('error', reject)
  })

/** As strerror(3) says it: callers look for that. */
const reason = (e: unknown): string => {
  const { errno = 0, message } = e as NodeJS.ErrnoException
  const text = getSystemErrorMap().get(errno)?.[1] ?? message
  return text.charAt(0).toUpperCase() + text.slice(1)
}

const connect = async (path: string): Promise<Socket> => {
  for (let left = ATTEMPTS; ; left--)
    try {
      return await connected(path)
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'EAGAIN' || left === 0)
        throw new Trouble(`Failed to connect to ${path}: ${reason(e)}`)
      await new Promise((resolve) => setTimeout(resolve, AGAIN))
    }
}

/** Throws Trouble. */
export const talk = async (path: string): Promise<Talk> => {
  const socket = await connect(path)
  socket.setTimeout(ANSWER_WAIT, () => socket.destroy(new Error('timeout')))
  let reader: ConfReader<ServerPart> = serverReader()
  const server = await new Promise<ServerPart>((resolve, reject) => {
    socket.on('data', (octets: Buffer) => {
      const next = readOn(reader, octets)
      if (typeof next === 'string') return reject(new Trouble(next))
      reader = next
      if (isWhole(next)) resolve(next.place.value)
    })
    const cut = (): void => reject(new Trouble('Error reading from control socket'))
    socket.on('end', cut)
    socket.on('error', cut)
  }).catch((e: unknown) => {
    socket.destroy()
    throw e
  })
  return {
    server,
    end: (request) =>
      new Promise((resolve, reject) => {
        socket.removeAllListeners('end')
        socket.removeAllListeners('error')
        if (request === null) {
          socket.destroy()
          return resolve()
        }
        socket.on('end', () => {
          socket.destroy()
          resolve()
        })
        socket.on('error', (e) => {
          // It may say no more before it has heard all
          const late = e.message === 'timeout'
          reject(
            new Trouble(
              late
                ? `No answer from the server within ${ANSWER_WAIT / 1000} s`
                : 'Error writing to control socket: the server has ended the connection'
            )
          )
        })
        socket.write(clientPart(server.version).encode(request))
      })
  }
}
