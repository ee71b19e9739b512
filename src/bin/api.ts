import { Socket } from 'node:net'
import { engineLine } from '../runtime/api/engine-line.js'
import openapi from '../runtime/api/openapi.json' with { type: 'json' }
import { apiServer } from '../runtime/api/server.js'

// The process of the API (--api), started by the launcher (native/launcher/apiprocess.cc) with everything but a user closed off. Descriptors:
// native/common/protocol.h, API_*. Arguments: user and group that it becomes, '' = it stays who it is.

const LISTEN_FD = 3
const ENGINE_FD = 4

const [, , uid = '', gid = ''] = process.argv
if (uid !== '') {
  process.setgroups?.([])
  process.setgid?.(Number(gid))
  process.setuid?.(Number(uid))
}
const end = (): never => process.exit(0)
const engine = new Socket({ fd: ENGINE_FD, readable: true, writable: true })
apiServer(engineLine(engine, end), openapi).on('error', end).listen({ fd: LISTEN_FD })
