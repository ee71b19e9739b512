import { add, seq, unsigned } from '../src/codecs/value/seq.js'
import { ACK, FIN, PSH, RST, SYN, URG } from '../src/codecs/wire/tcp.js'
import type { TcpOption } from '../src/codecs/wire/tcp-options.js'
import type { RuleName } from '../src/machines/judge/rules.js'
import { type Config, type Ending, type Spec, Talk, type Trace } from './judge-traces.js'

/** Faults of TCP, each a change of an honest trace. */

export interface Planted {
  readonly trace: Trace
  /** Index of the frame that breaks the rule. */
  readonly at: number
}
export interface Fault {
  readonly name: string
  readonly rule: RuleName
  /** What the conversation has to have. */
  readonly config?: Partial<Config>
  readonly ending?: Ending
  /** Only told of a capture that is known to be in order. */
  readonly ordered?: true
  /** The honest trace, where it is not conversation()'s. */
  readonly honest?: (c: Config) => Trace
  /** `pick(n)`: any of n. */
  readonly plant: (t: Trace, pick: (n: number) => number, c: Config) => Planted
}

const none = new Uint8Array(0)
const bytes = (n: number, with_ = 0x55): Uint8Array => new Uint8Array(n).fill(with_)

/** Frames of this kind, by this side. */
export const all = (t: Trace, is: RegExp, by?: 0 | 1): readonly number[] =>
  t.specs.flatMap((s, i) => (is.test(s.is) && (by === undefined || s.by === by) ? [i] : []))
export const change = (t: Trace, at: number, f: (s: Spec) => Partial<Spec>): Planted => ({
  trace: { ...t, specs: t.specs.map((s, i) => (i === at ? { ...s, ...f(s) } : s)) },
  at
})
/** Any frame of a kind is changed. */
const any =
  (is: RegExp, f: (s: Spec, t: Trace, i: number) => Partial<Spec>, by?: 0 | 1): Fault['plant'] =>
  (t, pick) => {
    const found = all(t, is, by)
    const i = found[pick(found.length)]!
    return change(t, i, (s) => f(s, t, i))
  }
/** A frame more, right behind `i`: `f` of that one. */
const behind = (t: Trace, i: number, f: (s: Spec) => Partial<Spec>, later = 0.001): Planted => {
  const s = t.specs[i]!
  const more = { ...s, at: s.at + later, ...f(s) }
  return { trace: { ...t, specs: [...t.specs.slice(0, i + 1), more, ...t.specs.slice(i + 1)] }, at: i + 1 }
}
/** What comes behind `i` does so later. */
const delay = (t: Trace, i: number, s: number): Trace => ({
  ...t,
  specs: t.specs.map((p, n) => (n >= i ? { ...p, at: p.at + s } : p))
})

const option = <K extends TcpOption['tag']>(s: Spec, tag: K): Extract<TcpOption, { readonly tag: K }> =>
  s.options.find((o): o is Extract<TcpOption, { readonly tag: K }> => o.tag === tag)!
const without = (s: Spec, tag: TcpOption['tag']): readonly TcpOption[] =>
  s.options.filter((o) => o.tag !== tag)
export const withOption = (s: Spec, o: TcpOption): Partial<Spec> => ({ options: [...without(s, o.tag), o] })
const stamped = (s: Spec, f: (o: { val: number; ecr: number }) => { val?: number; ecr?: number }) => {
  const ts = option(s, 'Timestamps')
  return withOption(s, { ...ts, ...f(ts) })
}
/** A time stamp that proves that it was sent later. */
const newer = (s: Spec): Partial<Spec> => stamped(s, ({ val }) => ({ val: (val + 1) >>> 0 }))
/** One behind the other side's last number. */
const before = (t: Trace, i: number, by: 0 | 1): Spec =>
  t.specs
    .slice(0, i)
    .filter((s) => s.by === by)
    .at(-1) ?? t.specs[0]!

const TS: Partial<Config> = { ts: [true, true] }
const NO_TS: Partial<Config> = { ts: [false, false] }
const SACK: Partial<Config> = { sack: true }
const SCALE: Partial<Config> = { scale: [3, 5] }
/** Bulk in segments of `len` octets; the third of them is one too many. */
const lengthened = (t: Trace, c: Config, len: number): Planted => {
  const bulk = all(t, /^bulk$/)
  const specs = t.specs.map((s, i) =>
    bulk.includes(i) ? { ...s, payload: new Talk(c).octets(1, s.seq, len) } : s
  )
  return { trace: { ...t, specs }, at: bulk[2]! }
}

const ANY_SEGMENT = /^(request|response|bulk|fill|goes-on|last|answers?|filled|duplicate)$/

/** Two connections on the same ports, the second `pause` s behind the first, its number `ahead` of the first one's. */
const twice =
  (pause: number, ahead: number, opener: 0 | 1) =>
  (c: Config): Trace => {
    const talk = new Talk(c)
    talk.open()
    talk.data(0, 100)
    talk.ack(1)
    talk.fin(0)
    talk.ack(1)
    talk.fin(1)
    talk.ack(0)
    const iss = [add(talk.end(0).nxt, 0), add(talk.end(1).nxt, 0)] as const
    const again = new Talk({
      ...c,
      iss: opener === 0 ? [add(iss[0], ahead), add(iss[1], 1000)] : [add(iss[0], 1000), add(iss[1], ahead)]
    })
    again.at = talk.at + pause
    if (opener === 0) again.open()
    else {
      again.emit(1, 'syn', SYN, add(iss[1], ahead), none)
      again.emit(0, 'synAck', SYN | ACK, add(iss[0], 1000), none)
      again.emit(1, 'ack', ACK, again.end(1).nxt, none)
    }
    return { v6: c.v6, specs: [...talk.specs, ...again.specs] }
  }

/** A refused connection. */
const refused = (c: Config): Trace => {
  const talk = new Talk(c)
  talk.emit(0, 'syn', SYN, c.iss[0], none)
  talk.emit(1, 'refusal', RST | ACK, seq(0), none, false, { ack: add(c.iss[0], 1) })
  return { v6: c.v6, specs: talk.specs }
}
/** SYNs that nobody answers. */
const unanswered = (c: Config): Trace => {
  const talk = new Talk(c)
  talk.emit(0, 'syn', SYN, c.iss[0], none, true)
  for (const s of [1, 2, 4, 8]) {
    talk.wait(s)
    talk.emit(0, 'syn', SYN, c.iss[0], none, true)
  }
  return { v6: c.v6, specs: talk.specs }
}
const atTimes = (t: Trace, indices: readonly number[], from: number, step: number): Trace => ({
  ...t,
  specs: t.specs.map((s, i) => {
    const n = indices.indexOf(i)
    return n < 0 ? s : { ...s, at: from + step * (n + 1) }
  })
})

export const FAULTS: readonly Fault[] = [
  // --- header
  {
    name: 'a wrong checksum',
    rule: 'tcp-checksum',
    plant: any(ANY_SEGMENT, () => ({ sum: 1 }))
  },
  { name: 'reserved bits', rule: 'reserved-bits', plant: any(ANY_SEGMENT, () => ({ reserved: 4 })) },
  {
    name: 'data without ACK',
    rule: 'ack-missing',
    plant: any(/request|response/, (s) => ({ flags: s.flags & ~ACK }))
  },
  {
    name: 'no flag at all',
    rule: 'ack-missing',
    plant: any(/^answer$/, () => ({ flags: 0 }))
  },
  {
    name: 'an urgent pointer to nothing',
    rule: 'urgent-nothing',
    plant: any(/request|response/, (s) => ({ flags: s.flags | URG, urgent: 0 }))
  },
  // --- options
  {
    name: 'an option of length 0',
    rule: 'option-length',
    config: NO_TS,
    plant: any(ANY_SEGMENT, () => ({ rawOptions: Uint8Array.of(30, 0, 1, 1) }))
  },
  {
    name: 'an option that is longer than the header',
    rule: 'option-length',
    config: NO_TS,
    plant: any(ANY_SEGMENT, () => ({ rawOptions: Uint8Array.of(1, 1, 30, 8) }))
  },
  {
    name: 'an option without a length',
    rule: 'option-length',
    config: NO_TS,
    plant: any(ANY_SEGMENT, () => ({ rawOptions: Uint8Array.of(1, 1, 1, 30) }))
  },
  {
    name: 'an MSS of length 3',
    rule: 'option-length',
    config: { ...NO_TS, mss: [null, 1460], scale: [null, null], sack: false },
    plant: any(/^syn$/, () => ({ rawOptions: Uint8Array.of(2, 3, 5, 1) }))
  },
  {
    name: 'padding that is not zero',
    rule: 'option-padding',
    config: NO_TS,
    plant: any(ANY_SEGMENT, () => ({ rawOptions: Uint8Array.of(0, 0, 7, 0) }))
  },
  {
    name: 'MSS without SYN',
    rule: 'mss-later',
    plant: any(ANY_SEGMENT, (s) => withOption(s, { tag: 'Mss', mss: 1460 }))
  },
  {
    name: 'window scale without SYN',
    rule: 'scale-later',
    plant: any(ANY_SEGMENT, (s) => withOption(s, { tag: 'WindowScale', shift: 3 }))
  },
  {
    name: 'window scale that was not asked for',
    rule: 'scale-unasked',
    config: { scale: [null, 5] },
    plant: any(/synAck/, (s) => withOption(s, { tag: 'WindowScale', shift: 0 }))
  },
  {
    name: 'window scale 15',
    rule: 'scale-large',
    config: { scale: [null, null] },
    plant: any(/^syn$/, (s) => withOption(s, { tag: 'WindowScale', shift: 15 }))
  },
  {
    name: 'SACK permitted without SYN',
    rule: 'sack-permitted-later',
    plant: any(ANY_SEGMENT, (s) => withOption(s, { tag: 'SackPermitted' }))
  },
  {
    name: 'SACK without permission',
    rule: 'sack-unpermitted',
    config: { sack: false },
    plant: any(/duplicate/, (s) => {
      const left = add(s.ack, 400)
      return withOption(s, { tag: 'Sack', blocks: [{ left, right: add(left, 400) }] })
    })
  },
  {
    name: 'timestamps that were not asked for',
    rule: 'timestamps-unasked',
    config: { ts: [false, true] },
    plant: any(/synAck/, (s) => withOption(s, { tag: 'Timestamps', val: 1, ecr: 0 }))
  },
  {
    name: 'timestamps that are not agreed upon',
    rule: 'timestamps-unasked',
    config: { ts: [true, false] },
    plant: any(ANY_SEGMENT, (s) => withOption(s, { tag: 'Timestamps', val: 1, ecr: 0 }))
  },
  {
    name: 'a segment without timestamps',
    rule: 'timestamps-missing',
    config: TS,
    plant: any(ANY_SEGMENT, (s) => ({ options: without(s, 'Timestamps') }))
  },
  {
    name: 'TSval that goes back',
    rule: 'timestamp-back',
    config: TS,
    plant: any(/^(response|bulk|last)$/, (s) => stamped(s, ({ val }) => ({ val: (val - 5000) >>> 0 })))
  },
  {
    name: 'TSecr that was never sent',
    rule: 'echo-unseen',
    config: TS,
    plant: any(/^(answer|request|response)$/, (s, t, i) =>
      stamped(s, () => ({ ecr: (option(before(t, i, s.by === 0 ? 1 : 0), 'Timestamps').val + 700) >>> 0 }))
    )
  },
  {
    name: 'TSecr that goes back',
    rule: 'echo-back',
    config: TS,
    plant: any(/^(request|response|last)$/, (s, t) => {
      const first = option(before(t, 3, s.by === 0 ? 1 : 0), 'Timestamps').val
      return stamped(s, () => ({ ecr: (first - 1) >>> 0 }))
    })
  },
  {
    name: 'TSecr in a SYN',
    rule: 'echo-without-ack',
    config: TS,
    plant: any(/^syn$/, (s) => stamped(s, () => ({ ecr: 77 })))
  },
  // --- sequence numbers
  {
    name: 'a SYN,ACK that acknowledges the SYN itself',
    rule: 'handshake-ack',
    plant: any(/synAck/, (s) => ({ ack: add(s.ack, -1) }))
  },
  {
    name: 'a SYN,ACK that acknowledges an octet too many',
    rule: 'handshake-ack',
    plant: any(/synAck/, (s) => ({ ack: add(s.ack, 1) }))
  },
  {
    name: 'data that begins at the number of the SYN',
    rule: 'syn-not-counted',
    plant: (t) => change(t, 3, (s) => ({ seq: add(s.seq, -1) }))
  },
  {
    name: 'data behind the FIN',
    rule: 'data-after-fin',
    ending: 'half',
    plant: (t) =>
      behind(t, all(t, /acks-fin$/)[0]!, (s) => {
        const fin = t.specs[all(t, /^fin$/)[0]!]!
        return { ...fin, at: s.at + 0.001, flags: ACK, seq: add(fin.seq, 1), payload: bytes(9) }
      })
  },
  {
    name: 'the FIN one octet further',
    rule: 'fin-moved',
    ending: 'close',
    plant: (t) => behind(t, all(t, /^fin$/)[0]!, (s) => ({ seq: add(s.seq, 1) }))
  },
  {
    name: 'a FIN within the data',
    rule: 'fin-moved',
    ending: 'close',
    plant: any(/^fin$/, (s) => ({ seq: add(s.seq, -5) }))
  },
  {
    name: 'other octets in a retransmission',
    rule: 'retransmission-differs',
    plant: any(/^(again|timeout)$/, (s) => {
      const payload = Uint8Array.from(s.payload)
      payload[7]! ^= 0xff
      return { payload }
    })
  },
  {
    name: 'a retransmission that is one octet off',
    rule: 'retransmission-differs',
    plant: any(/^(again|timeout)$/, (s) => ({
      payload: Uint8Array.from([...s.payload.subarray(1), 0xaa])
    }))
  },
  {
    name: 'segments that are too long',
    rule: 'segment-too-long',
    config: { mss: [536, 1460], ...NO_TS },
    plant: (t, _, c) => lengthened(t, c, 537)
  },
  {
    name: 'options that make segments too long',
    rule: 'segment-too-long',
    config: { mss: [536, 1460], ...TS, sack: false },
    plant: (t, _, c) => lengthened(t, c, 530)
  },
  {
    name: 'segments that are too long for a peer without the MSS option',
    rule: 'segment-too-long',
    config: { mss: [null, 1460], v6: false, ...NO_TS },
    plant: (t, _, c) => lengthened(t, c, 537)
  },
  {
    name: 'the same over IPv6',
    rule: 'segment-too-long',
    config: { mss: [null, 1460], v6: true, ...NO_TS },
    plant: (t, _, c) => lengthened(t, c, 1221)
  },
  // --- acknowledgements
  {
    name: 'an acknowledgement of what was not sent',
    rule: 'ack-beyond',
    plant: any(/^(answer|filled)$/, (s) => ({ ack: add(s.ack, 100) }))
  },
  {
    name: 'one octet too many is acknowledged',
    rule: 'ack-beyond',
    plant: any(/^(answer|filled)$/, (s) => ({ ack: add(s.ack, 1) }))
  },
  {
    name: 'a FIN that is acknowledged twice',
    rule: 'ack-beyond',
    ending: 'half',
    plant: any(/^acks-fin$/, (s) => ({ ack: add(s.ack, 1) }))
  },
  {
    name: 'an acknowledgement that goes back',
    rule: 'ack-back',
    plant: any(/^(response|last)$/, (s) => ({ ack: add(s.ack, -2) }))
  },
  {
    name: 'an acknowledgement without data that goes back',
    rule: 'ack-back',
    config: TS,
    plant: (t, pick) => {
      const found = all(t, /^filled$/)
      return behind(t, found[pick(found.length)]!, (s) => ({ ack: add(s.ack, -2), ...newer(s) }))
    }
  },
  {
    name: 'an acknowledgement that does not count the SYN',
    rule: 'ack-of-nothing',
    plant: (t) => change(t, 2, (s) => ({ ack: add(s.ack, -1) }))
  },
  {
    name: 'acknowledgements that come too late',
    rule: 'ack-late',
    ordered: true,
    plant: (t) => {
      const found = all(t, /^answer$/, 1).slice(0, 3)
      return { trace: found.reduce((trace, i) => delay(trace, i, 0.9), t), at: found[2]! }
    }
  },
  {
    name: 'a SACK block from right to left',
    rule: 'sack-block',
    config: SACK,
    plant: any(/duplicate/, (s) => {
      const [b] = option(s, 'Sack').blocks
      return withOption(s, { tag: 'Sack', blocks: [{ left: b!.right, right: b!.left }] })
    })
  },
  {
    name: 'a SACK block of nothing',
    rule: 'sack-block',
    config: SACK,
    plant: any(/duplicate/, (s) => {
      const [b] = option(s, 'Sack').blocks
      return withOption(s, { tag: 'Sack', blocks: [{ left: b!.left, right: b!.left }] })
    })
  },
  {
    name: 'a SACK block of what was not sent',
    rule: 'sack-beyond',
    config: SACK,
    plant: (t) => {
      const i = all(t, /duplicate/).at(-1)!
      return change(t, i, (s) => {
        const [b] = option(s, 'Sack').blocks
        return withOption(s, { tag: 'Sack', blocks: [{ left: b!.left, right: add(b!.right, 1) }] })
      })
    }
  },
  {
    name: 'a second SACK block of what is acknowledged',
    rule: 'sack-below',
    config: SACK,
    plant: any(/duplicate/, (s) => {
      const { blocks } = option(s, 'Sack')
      const old = { left: add(s.ack, -20), right: add(s.ack, -10) }
      return withOption(s, { tag: 'Sack', blocks: [blocks[0]!, old] })
    })
  },
  {
    name: 'SACK blocks that overlap',
    rule: 'sack-overlap',
    config: SACK,
    plant: any(/duplicate/, (s) => {
      const [b] = option(s, 'Sack').blocks
      const other = { left: add(b!.left, 10), right: add(b!.right, -10) }
      const more = { left: add(b!.left, 5), right: add(b!.right, -5) }
      return withOption(s, { tag: 'Sack', blocks: [b!, other, more] })
    })
  },
  // --- windows
  {
    name: 'data behind a closed window',
    rule: 'window-exceeded',
    plant: any(/^probe$/, () => ({ payload: bytes(600) }))
  },
  {
    name: 'two octets as a probe',
    rule: 'window-exceeded',
    config: { scale: [null, null] },
    plant: any(/^probe$/, () => ({ payload: bytes(2) }))
  },
  {
    name: 'a window that shrinks',
    rule: 'window-shrunk',
    config: { ...TS, ...SCALE },
    plant: (t, pick) => {
      const found = all(t, /^filled$/).slice(0, 3)
      return behind(t, found[pick(found.length)]!, (s) => ({ wnd: s.wnd - 40, ...newer(s) }))
    }
  },
  {
    name: 'a window that shrinks with new data',
    rule: 'window-shrunk',
    config: { ...NO_TS, scale: [null, null] },
    plant: any(/^(response|last)$/, (s) => ({ wnd: s.wnd - 1000 }))
  },
  {
    name: 'a closed window that opens by little',
    rule: 'window-silly',
    config: { ...TS, scale: [null, null], mss: [1460, 1460] },
    plant: any(/^update$/, () => ({ wnd: 100 }))
  },
  {
    name: 'probes at the same interval',
    rule: 'probe-back-off',
    plant: (t) => {
      const probes = all(t, /^probe$/)
      const acks = all(t, /^closed$/)
      const from = t.specs[probes[0]!]!.at - 0.4
      const trace = atTimes(atTimes(t, probes, from, 0.4), acks, from + 0.1, 0.4)
      return { trace, at: probes[3]! }
    }
  },
  // --- retransmission
  {
    name: 'retransmissions at the same interval',
    rule: 'back-off',
    plant: (t) => {
      const found = all(t, /^timeout$/)
      return { trace: atTimes(t, found, t.specs[found[0]!]!.at - 0.5, 0.5), at: found[3]! }
    }
  },
  {
    name: 'retransmissions that come faster and faster',
    rule: 'back-off',
    plant: (t) => {
      const found = all(t, /^timeout$/)
      const from = t.specs[found[0]!]!.at
      const times = [0, 0.9, 1.6, 2.1]
      const specs = t.specs.map((s, i) => {
        const n = found.indexOf(i)
        return n < 0 ? s : { ...s, at: from + times[n]! }
      })
      return { trace: { ...t, specs }, at: found[3]! }
    }
  },
  {
    name: 'SYNs at the same interval',
    rule: 'back-off',
    honest: unanswered,
    plant: (t) => {
      const found = all(t, /^syn$/)
      return { trace: atTimes(t, found, t.specs[0]!.at - 2, 2), at: found[3]! }
    }
  },
  {
    name: 'a SYN that is sent again at once',
    rule: 'syn-early',
    honest: unanswered,
    plant: (t) => change(t, 1, () => ({ at: t.specs[0]!.at + 0.3 }))
  },
  // --- RST, TIME-WAIT
  {
    name: 'a refusal without ACK',
    rule: 'reset-form',
    honest: refused,
    plant: (t) => change(t, 1, () => ({ flags: RST, ack: seq(0) }))
  },
  {
    name: 'a refusal that acknowledges the SYN itself',
    rule: 'reset-form',
    honest: refused,
    plant: (t) => change(t, 1, (s) => ({ ack: add(s.ack, -1) }))
  },
  {
    name: 'a refusal with a number of its own',
    rule: 'reset-form',
    honest: refused,
    plant: (t) => change(t, 1, () => ({ seq: seq(4711) }))
  },
  {
    name: 'a RST behind the window',
    rule: 'reset-outside',
    ending: 'reset',
    plant: any(/^reset$/, (s) => ({ seq: add(s.seq, 0x8000000) }))
  },
  {
    name: 'a RST before the SYN',
    rule: 'reset-outside',
    ending: 'reset',
    plant: (t) => change(t, all(t, /^reset$/)[0]!, () => ({ seq: add(t.specs[0]!.seq, -1000) }))
  },
  {
    name: 'data after the own RST',
    rule: 'after-reset',
    ending: 'reset',
    plant: (t) =>
      behind(t, all(t, /^reset$/)[0]!, (s) => ({
        flags: ACK | PSH,
        payload: bytes(20),
        ack: before(t, all(t, /^reset$/)[0]!, 0).ack,
        wnd: before(t, all(t, /^reset$/)[0]!, 0).wnd,
        options: before(t, all(t, /^reset$/)[0]!, 0).options,
        seq: s.seq
      }))
  },
  {
    name: 'TIME-WAIT that is left at once',
    rule: 'time-wait-left',
    config: NO_TS,
    honest: twice(60, 5000, 0),
    plant: (t) => {
      const i = all(t, /^syn$/)[1]!
      return { trace: delay(t, i, -58), at: i }
    }
  },
  {
    name: 'TIME-WAIT that takes an old SYN',
    rule: 'time-wait-reopened',
    config: { ...NO_TS, scale: [null, null] },
    honest: twice(2, 5000, 1),
    plant: (t) => {
      const i = all(t, /^syn$/)[1]!
      const old = add(t.specs[1]!.seq, 1)
      const specs = t.specs.map((s, n) => {
        if (n === i) return { ...s, seq: old }
        return n === i + 1 ? { ...s, ack: add(old, 1) } : s
      })
      return { trace: { ...t, specs: specs.slice(0, i + 2) }, at: i + 1 }
    }
  }
]

/** For counterexamples. */
export const showSpec = (s: Spec): string =>
  `${s.is} ${s.by} ${s.at.toFixed(3)} ${s.flags & FIN ? 'FIN ' : ''}${unsigned(s.seq)}+${s.payload.length} ack ${unsigned(s.ack)} wnd ${s.wnd}`
