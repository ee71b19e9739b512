import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import type { Life } from '../host/launcher.js'

const SIGN = new Uint8Array(1)

/** Tells the launcher that the loop goes round, and it tells a service manager (sd_watchdog_enabled(3)). */
export const signsOfLife = (w: World, { fd, everyMs }: Life): Feature => {
  const deadline = new Deadline(0)
  return {
    name: 'signs of life',
    deadline,
    onTime: (now) => {
      deadline.at = now + everyMs
      // What a launcher that stands still does not take is lost
      w.rings.native.writeNow(fd, SIGN)
    }
  }
}
