import { arch, release } from 'node:os'
import { getSystemErrorName } from 'node:util'
import type { Native } from '../abi/abi.js'
import { VERSION } from '../cli/help.js'
import type { Feature } from '../data/feature.js'
import type { Ended, World } from '../data/world.js'
import { reasonText } from '../log/error-text.js'
import type { Counters, Log } from '../log/log.js'
import type { Plan } from '../plan/plan-types.js'
import { type RecordedEnd, type Recorder, recorder } from '../record/recorder.js'
import type { StartRecord } from './start-record.js'

// The file of --record: opened as that of --pcap is, and as little of a reason to stop when it fails.

/** `takesOver`: flows are there that nothing in the record would lead to. null: none is wanted, or it cannot be had, which is said. */
export const openRecord = (
  native: Native,
  p: Pick<Plan, 'record' | 'recordSize' | 'recordPayload'>,
  takesOver: boolean,
  log: Log
): Recorder | null => {
  const { record: path, recordSize, recordPayload } = p
  if (path === null) return null
  if (takesOver) {
    log.at('warning', '--record: nothing is recorded, since flows of another process are taken over')
    return null
  }
  try {
    const fd = native.openOutput(path, false)
    return recorder(
      (chunk) => native.writeNow(fd, chunk),
      recordSize,
      recordPayload,
      (errno) => {
        if (errno === null) log.at('warning', 'record ended: --record-size is reached; traffic goes on')
        else log.at('error', `record ended: ${getSystemErrorName(-errno)}; traffic goes on`)
      }
    )
  } catch (e) {
    log.at('error', `cannot write the record ${path}: ${reasonText(e)}`)
    return null
  }
}

/** Of a made-up world: what a turn costs is compiled before the first real one. */
export const recordNowhere = (w: World): Feature => {
  const r = recorder(
    () => 0,
    Number.POSITIVE_INFINITY,
    false,
    () => {}
  )
  r.begin('', [], () => '')
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
