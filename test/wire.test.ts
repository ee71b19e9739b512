// Single segments and datagrams, sent by hand from inside the namespace: what RFCs ask for, and where upstream is weak.
import { match } from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { helper, isPeer, ok } from './lib/world.js'

const bed = useBed()
const scenarios: ReadonlyArray<readonly [string, string, 'upstream-weak'?]> = [
  ['third-segment-data', 'regression-G: data in the third handshake segment is kept', 'upstream-weak'],
  ['no-window-scale', 'regression-J: no window scale unless the guest offered one', 'upstream-weak'],
  ['window-scale', 'window scale and MSS are answered'],
  ['mss-from-mtu', 'the MSS fits the MTU'],
  ['syn-ack-repeats', 'regression-C: SYN,ACK lost: the same again', 'upstream-weak'],
  ['syn-repeats', 'regression-56: a second SYN does no harm'],
  ['old-data-is-acknowledged', 'regression-H: old data is acknowledged', 'upstream-weak'],
  ['keep-alive', 'regression-43, regression-54: keep-alives are answered'],
  [
    'reset-out-of-window',
    'regression-I: a reset outside of the window is ignored (RFC 5961 3.2)',
    'upstream-weak'
  ],
  [
    'reset-in-window',
    'regression-I: a reset inside of the window is challenged (RFC 5961 3.2)',
    'upstream-weak'
  ],
  ['reset-exact', 'an exact reset ends the connection'],
  [
    'no-connection',
    'regression-26, regression-N: segments without a connection (RFC 9293 3.10.7.1)',
    'upstream-weak'
  ],
  ['refused', 'a refused connection is a RST at once'],
  ['odd-syns', 'regression-30, regression-40: port 0, multicast and nonsense flags do no harm'],
  ['out-of-order', 'out of order: duplicate ACK, stream intact'],
  ['overlapping', 'overlapping segments: each octet once'],
  ['early-fin', 'regression-69: a FIN behind a gap is not the end'],
  ['fin-with-data', 'FIN with data, one segment'],
  ['retransmission', 'unacknowledged data comes again'],
  ['fin-repeats', 'regression-83: an unacknowledged FIN comes again'],
  [
    'duplicate-acks-of-fin',
    'regression-3, regression-93: duplicate ACKs of a FIN do not multiply it',
    'upstream-weak'
  ],
  ['three-duplicates', 'regression-24, regression-62: three duplicate ACKs retransmit'],
  ['zero-window', 'regression-34, regression-57: zero window is respected, probed, and left'],
  ['bad-tcp-checksum', 'a wrong TCP checksum is not taken', 'upstream-weak'],
  ['urgent-in-line', 'urgent data stays in line'],
  ['ack-beyond', 'an ACK of what was never sent does no harm'],
  ['ipv6-extension-headers', 'regression-D: IPv6 extension headers are walked', 'upstream-weak'],
  ['padding', 'regression-M: Ethernet padding is trimmed', 'upstream-weak'],
  ['ipv4-options', 'IPv4 options are skipped'],
  ['udp-checksums', 'UDP checksums: none, wrong, missing', 'upstream-weak'],
  ['fragments-v4', 'IPv4 fragments, in any order, with copies, overlapping', 'upstream-weak'],
  ['fragments-v6', 'IPv6 fragments, in any order, with copies, overlapping', 'upstream-weak']
]

describe('on the wire', () => {
  const run = scenarios.filter(([, , weak]) => weak === undefined || !isPeer).map(([name]) => name)
  let said = ''
  before(async () => {
    // Debian's own Python: scapy is a package of Debian's
    const argv = ['/usr/bin/python3', helper('wire.py'), ...run]
    said = ok(await bed.w.pasta(['--config-net'], argv, { timeout: 300_000 })).stdout
  })
  for (const [name, title, weak] of scenarios)
    test(title, { skip: weak !== undefined && isPeer && 'upstream is weak here' }, () => {
      const [, why] = new RegExp(`^not ok ${name} (.*?)(?=^(?:not )?ok |$(?![^]))`, 'ms').exec(said) ?? []
      match(said, new RegExp(`^ok ${name}$`, 'm'), why ?? `nothing said of it:\n${said}`)
    })
})
