import type { Instant } from '../../effects/effect.js'
import type { World } from './world.js'

/** Somebody is at the other end of the guest's link: its first frame, or a hypervisor that has connected. */
export const guestUp = (w: World, now: Instant): void => {
  w.guest.up = true
  for (const hear of w.features.guestUp) hear(now)
}

/** Nobody is there any more. */
export const guestDown = (w: World): void => {
  w.guest.up = false
  for (const hear of w.features.guestDown) hear()
}
