import { octetsOfText } from '../value/octet-text.js'

/** Octets of an interface's own name, IFNAMSIZ - 1, and of an alternative one, ALTIFNAMSIZ - 1 (linux/if.h). */
export const MAX_IFNAME = 15
export const MAX_ALT_IFNAME = 127

export const isNoLonger = (name: string, most: number): boolean => octetsOfText(name).length <= most

/** What the kernel's dev_valid_name() allows, as long as an alternative name may be. */
export const isIfname = (name: string): boolean =>
  name !== '' && isNoLonger(name, MAX_ALT_IFNAME) && name !== '.' && name !== '..' && !/[/:\t-\r ]/.test(name)
