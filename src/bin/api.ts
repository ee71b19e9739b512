import { Socket } from 'node:net'
import { loadAddon } from '../runtime/abi/addon.js'
import { engineLine } from '../runtime/api/engine-line.js'
import openapi from '../runtime/api/openapi.json' with { type: 'json' }
import { apiServer } from '../runtime/api/server.js'

// The process of the API (--api), started by the launcher (native/launcher/apiprocess.cc). Descriptors: native/common/protocol.h, API_*.
// Arguments: user and group that it becomes, '' = it stays who it is. It gives up everything else before it hears anybody.

const ENGINE_FD = 3

const [, bundle = '', uid = '', gid = ''] = process.argv
const native = loadAddon(bundle)
const owner = process.getuid?.() ?? -1
const end = (): never => process.exit(0)
const idOf = (text: string): number => (text === '' ? -1 : Number(text))
/** Of a connection that Node has accepted; it does not say so otherwise. */
const fdOf = (s: Socket): number =>
  (s as Socket & { readonly _handle?: { readonly fd?: number } })._handle?.fd ?? -1
const mayChange = (s: Socket): boolean => {
  const user = native.peerUser(fdOf(s))
  return user === 0 || (user >= 0 && user === owner)
}
const listener = native.apiListener(ENGINE_FD)
if (listener < 0) end()
const engine = new Socket({ fd: ENGINE_FD, readable: true, writable: true })
apiServer(engineLine(engine, end), { mayChange }, openapi)
  .on('error', end)
  .listen({ fd: listener }, () => native.confineApi(idOf(uid), idOf(gid)))
