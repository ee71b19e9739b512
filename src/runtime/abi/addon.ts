import { dirname, join } from 'node:path'
import type { Native } from './abi.js'

/** What the process of the API asks of the addon. */
export interface ApiNative {
  /** Where its clients connect, once the engine at the other end of this stream serves; -1: it is gone. Waits. */
  apiListener(stream: number): number
  /**
   * On every thread, for good: user and group (-1: as they are), no capability, no file by name, no system call but those of
   * native/addon/api-calls.def, as far as the kernel can. Throws where it is not done: the process is to end.
   */
  confineApi(uid: number, gid: number): void
  /** Of a connected UNIX socket: the user at its other end as it connected (unix(7), SO_PEERCRED); -1: unknown. */
  peerUser(fd: number): number
}

/** The addon lies beside the bundle: <root>/dist/engine.cjs, <root>/build/Release/passt.node. Throws as process.dlopen() does. */
export const loadAddon = (bundle: string): Native & ApiNative => {
  const module: { exports: unknown } = { exports: {} }
  process.dlopen(module, join(dirname(bundle), '../build/Release/passt.node'))
  return module.exports as Native & ApiNative
}
