// Files and messages that we read of the host: any octets give a value or a reason.

import { LauncherReply } from '../../src/codecs/control/launcher.js'
import { decodeAttributes, NetlinkDatagram } from '../../src/codecs/kernel/netlink.js'
import { listeningPorts } from '../../src/codecs/kernel/proc-net.js'
import { Neighbour } from '../../src/codecs/kernel/rtneigh.js'
import { Address, Link, Route } from '../../src/codecs/kernel/rtnetlink.js'
import { ResolvConf } from '../../src/codecs/text/resolv-conf.js'
import { octets } from '../../src/codecs/value/octets.js'

const latin1 = new TextDecoder('latin1')

/** The first octet says what the rest is. */
const readers: ReadonlyArray<(b: Uint8Array) => unknown> = [
  (b) => ResolvConf.decode(latin1.decode(b)),
  (b) => listeningPorts(b, 'tcp'),
  (b) => listeningPorts(b, 'udp6'),
  (b) => NetlinkDatagram.decode(octets(b)),
  (b) => decodeAttributes(octets(b)),
  (b) => Link.decode(octets(b)),
  (b) => Address.decode(octets(b)),
  (b) => Route.decode(octets(b)),
  (b) => Neighbour.decode(octets(b)),
  (b) => LauncherReply.decode(octets(b))
]

export const fuzz = (data: Uint8Array): void => {
  readers[(data[0] ?? 0) % readers.length](data.slice(1))
}
