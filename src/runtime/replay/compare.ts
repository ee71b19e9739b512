import type { RingRecord } from '../../codecs/log/record.js'
import { sameOctets } from '../../codecs/value/octets.js'
import { VNET_LEN } from '../../codecs/wire/vnet.js'
import { EF } from '../abi/abi.js'
import type { RecordedTurn } from './recording.js'

// Effects as recorded and as made now.

/** `event`: index of the event of the turn that it is due to; -1: none, but time or the end of the turn. */
export interface Made {
  readonly record: RingRecord
  readonly event: number
}
/** Effects that are carried out together. */
export type Part = ReadonlyArray<Made>

export interface Difference {
  readonly turn: number
  readonly now: number
  /** In words. */
  readonly what: string
  /** The first effect that is not the same, counted from 0 in its turn; -1: it is no effect. */
  readonly effect: number
  /** null: there is none. */
  readonly recorded: RingRecord | null
  readonly made: RingRecord | null
  /** That it is due to; null: time, or the end of the turn. */
  readonly event: number | null
}

const sameRecord = (a: RingRecord, b: RingRecord): boolean =>
  a.words.every((w, i) => w === b.words[i]) &&
  (a.kept === null
    ? b.kept === null
    : b.kept !== null && sameOctets(a.kept.head, b.kept.head) && sameOctets(a.kept.tail, b.kept.tail))

/** Effects whose word 2 is of no meaning elsewhere: an offset in the slab. */
const NAMES_OCTETS = new Set<number>([
  EF.TAP_WRITE,
  EF.SEND,
  EF.PEEK,
  EF.UDP_SEND,
  EF.PING_SEND,
  EF.NETLINK,
  EF.CAPTURE_NOTE,
  EF.VHOST_REPLY,
  EF.STATE_WRITE,
  EF.TCP_RESTORE,
  EF.TCP_RESTORE_QUEUE,
  EF.REPAIR,
  EF.VHOST_MEMORY,
  EF.VHOST_ADD_REGION,
  // The handle of the other side
  EF.UDP_JOIN
])
/** Identifications and sums that another flow has a part in; octets of a frame behind its virtio-net header. */
const ETHERTYPE = VNET_LEN + 12
const IP = VNET_LEN + 14
const alone = (r: RingRecord): RingRecord => {
  // Its text has the flow's number
  if (r.words[0] === EF.CAPTURE_NOTE) return { words: [EF.CAPTURE_NOTE], kept: null }
  const words = r.words.map((w, i) => (i === 1 || (i === 2 && NAMES_OCTETS.has(r.words[0])) ? 0 : w))
  if (r.kept === null || r.words[0] !== EF.TAP_WRITE || r.kept.head.length < IP + 20)
    return { words, kept: r.kept }
  const head = r.kept.head.slice()
  if (head[ETHERTYPE] === 8 && head[ETHERTYPE + 1] === 0) {
    head.fill(0, IP + 4, IP + 6)
    head.fill(0, IP + 10, IP + 12)
  }
  return { words, kept: { ...r.kept, head } }
}

/**
 * null: the same. `trouble`: something was asked for otherwise. `isAlone`: the record was shrunk to one flow, so that where things lie, and
 * how flows are numbered, is not as it was.
 */
export const firstDifference = (
  t: RecordedTurn,
  made: ReadonlyArray<Part>,
  trouble: string | null,
  isAlone: boolean
): Difference | null => {
  const at = { turn: t.index, now: t.now }
  const recorded = isAlone ? [t.effects.flat()] : t.effects
  const parts = isAlone ? [made.flat()] : made
  let index = 0
  for (let p = 0; p < Math.max(recorded.length, parts.length); p++) {
    const theirs = recorded[p] ?? []
    const ours = parts[p] ?? []
    for (let i = 0; i < Math.max(theirs.length, ours.length); i++, index++) {
      const a = theirs[i] ?? null
      const b = ours[i] ?? null
      // What the last turn led to was perhaps not carried out any more
      if (a === null && t.isLast) return null
      const same =
        a !== null && b !== null && sameRecord(isAlone ? alone(a) : a, isAlone ? alone(b.record) : b.record)
      if (same) continue
      const what =
        a === null
          ? 'an effect that the record does not have'
          : b === null
            ? 'an effect is missing'
            : 'another effect'
      const event = b === null ? null : b.event < 0 ? null : b.event
      return { ...at, what, effect: index, recorded: a, made: b?.record ?? null, event }
    }
  }
  return trouble === null
    ? null
    : { ...at, what: trouble, effect: -1, recorded: null, made: null, event: null }
}
