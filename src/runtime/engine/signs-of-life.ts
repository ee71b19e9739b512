import { writeSync } from 'node:fs'
import type { Feature } from '../data/feature.js'
import { Deadline } from '../flow/deadline.js'
import type { Life } from '../host/launcher.js'

/** eventfd(2): what is added, in the machine's byte order. */
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer)

/** Tells the launcher that the loop goes round, and it tells a service manager (sd_watchdog_enabled(3)). */
export const signsOfLife = ({ fd, everyMs }: Life): Feature => {
  const deadline = new Deadline(0)
  return {
    name: 'signs of life',
    deadline,
    onTime: (now) => {
      deadline.at = now + everyMs
      writeSync(fd, ONE)
    }
  }
}
