import { decodeVhostMessage, descriptorsOf } from '../../codecs/control/vhost-user.js'
import type { Octets } from '../../codecs/value/octets.js'
import type { VhostEvent } from './vhost-session.js'

/**
 * What a message is to the session's machine, one event after the other. `fds`: descriptors that came with it; `more`: there were
 * others besides, which are closed already. Each descriptor is in one of the events, once.
 */
export const vhostEvents = (
  o: Octets,
  fds: ReadonlyArray<number>,
  more: boolean
): ReadonlyArray<VhostEvent> => {
  const m = decodeVhostMessage(o)
  if (typeof m === 'string') return [{ type: 'MALFORMED', text: m, fds }]
  const wanted = descriptorsOf(m)
  if (wanted === fds.length && !more) return [{ ...m, fds }]
  if (wanted === 0)
    return [
      { type: 'SPARE_FDS', fds },
      { ...m, fds: [] }
    ]
  const came = more ? `more than ${fds.length}` : `${fds.length}`
  return [{ type: 'MALFORMED', text: `${m.type}: ${came} descriptors, not ${wanted}`, fds }]
}
