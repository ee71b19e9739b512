import { ACK, RST, SYN, URG } from '../../codecs/wire/tcp.js'
import { FINE, type Look, type Verdicts } from './connection.js'
import { said } from './packet.js'

// What a segment has to look like, whatever the connection.

/**
 * A wrong checksum is its sender's fault if others of it were right. Else an interface fills them in behind the place of the
 * capture.
 */
export const checksum = ({ s, me }: Look): Verdicts => {
  if (s.sum === 'unknown') return ['checksum']
  if (s.sum === 'right') return FINE
  if (me.sumsRight < 1 || me.sumsPartial > 0) return ['checksum']
  const allowed = 'the sum of pseudo-header, header and data'
  return [said('tcp-checksum', `a checksum that does not add up, over ${s.len} octets of data`, allowed)]
}

export const flags = ({ s }: Look): Verdicts => {
  if ((s.flags & (SYN | RST | ACK)) === 0)
    return [said('ack-missing', 'no ACK', 'ACK in every segment but SYN and RST')]
  return FINE
}

export const urgent = ({ s }: Look): Verdicts =>
  (s.flags & URG) !== 0 && s.urgent === 0
    ? [said('urgent-nothing', 'urgent pointer 0', 'the offset of the octet behind the urgent data')]
    : FINE
