import { isDeepStrictEqual } from 'node:util'
import * as E from 'fp-ts/lib/Either.js'
import { encodeRecording, type Kept, type RecordItem, type RingRecord } from '../../codecs/log/record.js'
import type { InAny } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { readMac, writeMac } from '../../codecs/wire/ethernet.js'
import { EF, EV } from '../abi/abi.js'
import { type StartRecord, startText } from '../engine/start-record.js'
import type { WorldFamily } from '../engine/world-config.js'
import { ASK } from '../record/answers.js'
import { type Aliases, aliasesBy, looker } from './aliases.js'
import type { Part } from './compare.js'
import { type Answer, openRecording, type RecordEnd, type Recording } from './recording.js'
import { type Replayed, replayer, Unplayable } from './replayer.js'
import { aliasWords, isOfMove, rewrite } from './rewrite.js'
import { worldBy } from './world-aliases.js'

// The record of a session that may be given away: who is in it has aliases (aliases.ts). Only what came in is written anew. What the machines
// make of that are the effects, so that they hold together whatever they are. Both are replayed at once, and every turn has to lead to the same
// effects, but for the aliases. The session's secret is left out: initial sequence numbers become answers.

const nameBy = (a: Aliases, name: string): string => name.split('.').map(a.label).join('.')

const familyBy = (a: Aliases, f: WorldFamily | null): WorldFamily | null => {
  if (f === null) return null
  const or = (x: InAny | null): InAny | null => (x === null ? null : a.addr(x))
  if (f.assigned !== null) a.prefix(f.assigned, f.prefixLen)
  return {
    ...f,
    assigned: or(f.assigned),
    gateway: or(f.gateway),
    own: or(f.own),
    linkLocal: or(f.linkLocal),
    dns: f.dns.map(a.addr),
    dnsForward: or(f.dnsForward),
    dnsHost: or(f.dnsHost),
    mapHostLoopback: or(f.mapHostLoopback),
    mapGuestAddr: or(f.mapGuestAddr),
    outbound: or(f.outbound)
  }
}
const macBytes = (a: Aliases, mac: Uint8Array): Uint8Array => {
  const out = new DataView(new ArrayBuffer(6))
  writeMac(out, 0, a.mac(readMac(new DataView(mac.buffer, mac.byteOffset), 0)))
  return new Uint8Array(out.buffer)
}
/** Of the host no more than which Linux it is. */
const hostBy = (host: string): string => host.replace(/(Linux \d+\.\d+)[^,]*/, '$1')

const startBy = (a: Aliases, s: StartRecord): StartRecord => {
  for (const l of s.found.links) a.prefix(l.prefix.addr, l.prefix.len)
  const { plan: p, found: f } = s
  return {
    ...s,
    host: hostBy(s.host),
    plan: {
      ...p,
      ownMac: a.mac(p.ownMac),
      v4: familyBy(a, p.v4),
      v6: familyBy(a, p.v6),
      search: p.search.map((n) => nameBy(a, n)),
      hostname: p.hostname === null ? null : nameBy(a, p.hostname),
      fqdn: p.fqdn === null ? null : nameBy(a, p.fqdn)
    },
    found: {
      ...f,
      tap: f.tap === null ? null : { ...f.tap, mac: macBytes(a, f.tap.mac) },
      links: f.links.map((l) => ({
        ...l,
        own: a.addr(l.own),
        prefix: { ...l.prefix, addr: a.addr(l.prefix.addr) }
      })),
      secret: new Uint8Array(f.secret.length)
    },
    rules: s.rules.map((r) => ({
      ...r,
      bind: r.bind === null ? null : a.addr(r.bind),
      toAddress: r.toAddress === null ? null : a.addr(r.toAddress),
      ifname: r.ifname === null ? null : a.label(r.ifname)
    })),
    aliased: true
  }
}

/** Int32 words for each socket: its address, its port (abi.ts, localEnds). */
const END_WORDS = 5
const answerBy = (a: Aliases, answer: Answer): Answer => {
  if (answer.to !== ASK.LOCAL_ENDS) return answer
  const words = [...new Int32Array(answer.answer.slice().buffer, 0, answer.answer.length >> 2)]
  for (let at = 0; at + END_WORDS <= words.length; at += END_WORDS) aliasWords(words, at, a)
  return { ...answer, answer: new Uint8Array(Int32Array.from(words).buffer) }
}

const open = (file: Octets): { readonly recording: Recording; readonly end: RecordEnd } => {
  const opened = openRecording(file)
  if (E.isLeft(opened)) throw new Unplayable(opened.left)
  return opened.right
}

const sameLength = (was: Kept | null, is: Kept | null): boolean =>
  was?.head.length === is?.head.length && was?.tail.length === is?.tail.length
/** The same, but for what they say and to whom. */
const isAlike = (was: RingRecord | undefined, is: RingRecord | undefined): boolean =>
  was !== undefined &&
  is !== undefined &&
  was.words[0] === is.words[0] &&
  was.words[1] === is.words[1] &&
  // A note's text has addresses in it, which are as long as they are
  (was.words[0] === EF.CAPTURE_NOTE || sameLength(was.kept, is.kept))
const areAlike = (was: ReadonlyArray<Part>, is: ReadonlyArray<Part>): boolean =>
  was.length === is.length &&
  was.every(
    (part, p) => part.length === is[p]!.length && part.every((m, i) => isAlike(m.record, is[p]![i]!.record))
  )

const itemsOf = (r: Replayed, answers: ReadonlyArray<Answer>): ReadonlyArray<RecordItem> => {
  const { turn: t, made } = r
  return [
    { type: 'Turn', now: t.now, events: t.events.length },
    ...t.events.map((e): RecordItem => ({ ...e, type: 'Event' })),
    ...answers,
    // Of the last turn as many as were carried out
    ...t.effects.flatMap((part, p): ReadonlyArray<RecordItem> => {
      const some = made[p]!.slice(0, part.length)
      return [
        { type: 'Effects', effects: some.length },
        ...some.map(({ record }): RecordItem => ({ ...record, type: 'Effect' }))
      ]
    }),
    ...t.listeners
  ]
}

const worldOr = (a: Aliases, world: string | null): string | null => {
  if (world === null) return null
  const w = worldBy(a, world)
  if (E.isLeft(w)) throw new Unplayable(w.left)
  return w.right
}

/** The file with aliases. `key`: 32 random octets, by which they are chosen. Throws Unplayable: in words, what stands against it. */
export const anonymized = (file: Octets, key: Uint8Array): Uint8Array => {
  const { start, world, listeners, turns } = open(file).recording
  if (start.payload) throw new Unplayable("it has users' data, in which nothing is replaced")
  if (start.aliased === true) throw new Unplayable('it is anonymous already')
  const look = looker()
  startBy(look.aliases, start)
  worldOr(look.aliases, world)
  if (listeners.some((l) => l.type === 'Rule'))
    throw new Unplayable(
      'when it began there were listeners of rules that were no more, whose addresses are not replaced'
    )
  for (const t of turns)
    for (const e of t.events) {
      if (isOfMove(e.words[0]!))
        throw new Unplayable('a guest moves in it, whose state has addresses that are not replaced')
      if ((e.words[0] === EV.CONF_OCTETS || e.words[0] === EV.API_OCTETS) && e.kept !== null)
        throw new Unplayable('rules change in it, whose addresses are not replaced')
      if (e.words[0] === EV.HOST)
        throw new Unplayable('the host changes in it, whose addresses are not replaced')
      rewrite(e, look.aliases)
    }
  const a = aliasesBy(key, look.seen)

  const { recording, end } = open(file)
  const other: Pick<Recording, 'start' | 'world' | 'listeners'> = {
    start: startBy(a, start),
    world: worldOr(a, world),
    listeners
  }
  const theirs = replayer(recording)
  const ours = replayer(other)
  const items: RecordItem[] = [
    { type: 'Start', json: startText(other.start) },
    ...(other.world === null ? [] : [{ type: 'World', json: other.world } as const]),
    ...listeners
  ]
  for (const t of recording.turns) {
    const was = theirs.turn(t)
    if (was.difference !== null)
      throw new Unplayable(
        `turn ${t.index} differs in it: an anonymous record has what this version makes of it`
      )
    const answers = was.answers.map((one) => answerBy(a, one))
    const is = ours.turn({ ...t, events: t.events.map((e) => rewrite(e, a)), answers })
    if (!areAlike(was.made, is.made))
      throw new Unplayable(`turn ${t.index} would be another one with other addresses`)
    items.push(...itemsOf(is, answers))
    if (theirs.ended() !== null) break
  }
  if (!isDeepStrictEqual(theirs.world.counters, ours.world.counters))
    throw new Unplayable('its counters would be others with other addresses')
  if (end.why !== null) {
    const counters = end.counters === null ? {} : { counters: end.counters }
    items.push({ type: 'End', json: JSON.stringify({ why: end.why, ...counters }) })
  }
  return encodeRecording(items)
}
