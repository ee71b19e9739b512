import { fstatSync, ftruncateSync, writeSync } from 'node:fs'
import { arch, release } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { ENOSPC, ESPIPE } from '../../codecs/value/errno.js'
import type { Native } from '../abi/abi.js'
import { VERSION } from '../cli/help.js'
import type { Feature } from '../data/feature.js'
import type { Ended, World } from '../data/world.js'
import { errnoOf, reasonText } from '../log/error-text.js'
import type { Counters, Log } from '../log/log.js'
import type { Plan } from '../plan/plan-types.js'
import { type RecordedEnd, type Recorder, type RecordFile, recorder } from '../record/recorder.js'
import type { StartRecord } from './start-record.js'

// The file of --record: opened as that of --pcap is, and as little of a reason to stop when it fails.

/** Where the file is written: a pipe or a device from where it is, and never anew. */
const fileOf = (native: Native, fd: number): RecordFile => {
  const seeks = fstatSync(fd).isFile()
  let begun = false
  const write = (chunk: Uint8Array, at: number): number => {
    begun = true
    if (!seeks) return native.writeNow(fd, chunk)
    try {
      for (let done = 0; done < chunk.length; ) {
        const n = writeSync(fd, chunk, done, chunk.length - done, at + done)
        if (n === 0) return ENOSPC
        done += n
      }
      return 0
    } catch (e) {
      return errnoOf(e)
    }
  }
  const empty = (): number => {
    if (!begun) return 0
    if (!seeks) return ESPIPE
    try {
      ftruncateSync(fd, 0)
      return 0
    } catch (e) {
      return errnoOf(e)
    }
  }
  return { write, empty, seeks }
}

/** null: none is wanted, or it cannot be had, which is said. */
export const openRecord = (
  native: Native,
  p: Pick<Plan, 'record' | 'recordSize' | 'recordPayload'>,
  log: Log
): Recorder | null => {
  const { record: path, recordSize, recordPayload } = p
  if (path === null) return null
  try {
    const fd = native.openOutput(path, false)
    return recorder(fileOf(native, fd), recordSize, recordPayload, (errno) => {
      if (errno === null) log.at('warning', 'record ended: --record-size is reached; traffic goes on')
      else log.at('error', `record ended: ${getSystemErrorName(-errno)}; traffic goes on`)
    })
  } catch (e) {
    log.at('error', `cannot write the record ${path}: ${reasonText(e)}`)
    return null
  }
}

/** Of a made-up world: what a turn costs is compiled before the first real one. */
export const recordNowhere = (w: World): Feature => {
  const r = recorder(
    { write: () => 0, empty: () => 0, seeks: false },
    Number.POSITIVE_INFINITY,
    false,
    () => {}
  )
  r.begin({ start: '', world: null, rules: [] })
  return r.feature(w)
}

/** Who writes, and where. */
export const writer = (): Pick<StartRecord, 'version' | 'host' | 'date'> => ({
  version: VERSION,
  host: `Node ${process.versions.node}, Linux ${release()}, ${arch()}`,
  date: new Date().toISOString()
})

export const recordEnd = (ended: Ended | null, counters: Counters): RecordedEnd => ({
  why: ended?.why ?? 'error',
  counters: Object.fromEntries(counters)
})
