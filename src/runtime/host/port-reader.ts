import type { ProcNetFile } from '../../codecs/control/launcher-sockets.js'
import { listeningPortsSoFar } from '../../codecs/kernel/proc-net.js'
import { emptyPorts, type PortSet, unionPorts } from '../../codecs/value/port-set.js'
import type { Listening } from '../../machines/forward/port-scan.js'

// Which ports somebody listens on, from the /proc/net files of both sides: in slices, since a namespace may hold many
// thousands of sockets, and everything else waits while we read.

/** /proc/net files of one side, opened before the doors close; those that do not exist are missing. */
export type ProcNet = ReadonlyMap<ProcNetFile, number>
type Side = 'host' | 'ns'

/** pread(2) into `into` from its beginning; throws what it throws. */
export type ReadAt = (fd: number, into: Uint8Array, offset: number) => number

/** Octets read in one turn, about: some 200 lines. The kernel takes most of the time, 1 µs a line. */
export const SLICE = 32 << 10
/**
 * The kernel fills a page with whole lines (Documentation/filesystems/seq_file.rst), each of 150 octets or a little more here: a
 * read that brings less than this was the last one. To ask once more costs as much as the file itself, since the kernel looks
 * through the table of all its connections for the next line: 5 ms with 262,144 places, however few are taken.
 */
const LAST_READ = 2048
/** Where a file ends at the latest. */
const FILE_MAX = 64 << 20

/** A scan under way. */
export interface Reading {
  readonly files: ReadonlyArray<{ readonly side: Side; readonly file: ProcNetFile; readonly fd: number }>
  /** Which of the files, how far, and the part of its last line that has been read. */
  at: number
  offset: number
  rest: Uint8Array
  readonly found: Readonly<Record<Side, Listening>>
  /** A file took more than one read: what came or went meanwhile may have hidden others (seq_file counts lines). */
  torn: boolean
}

const filesOf = (side: Side, files: ProcNet): Reading['files'] =>
  [...files].map(([file, fd]) => ({ side, file, fd }))
const nothing = (): Listening => ({ tcp: emptyPorts(), udp: emptyPorts() })

export const beginReading = (host: ProcNet, ns: ProcNet): Reading => ({
  files: [...filesOf('host', host), ...filesOf('ns', ns)],
  at: 0,
  offset: 0,
  rest: new Uint8Array(0),
  found: { host: nothing(), ns: nothing() },
  torn: false
})

const scratch = new Uint8Array(SLICE)
const setOf = (l: Listening, file: ProcNetFile): PortSet => (file.startsWith('tcp') ? l.tcp : l.udp)

/** Read a slice. True: that was the last one, `found` is complete. */
export const readSlice = (r: Reading, read: ReadAt, slice = SLICE): boolean => {
  for (let left = slice; left > 0 && r.at < r.files.length; ) {
    const { side, file, fd } = r.files[r.at]!
    const got = read(fd, scratch.subarray(0, left), r.offset)
    const end = got < Math.min(LAST_READ, left)
    left -= got
    if (got > 0 && r.offset > 0) r.torn = true
    r.offset += got
    const text = new Uint8Array(r.rest.length + got)
    text.set(r.rest)
    text.set(scratch.subarray(0, got), r.rest.length)
    const last = end || r.offset >= FILE_MAX
    const rest = listeningPortsSoFar(text, file, setOf(r.found[side], file), last)
    if (rest === null) {
      r.at++
      r.offset = 0
      r.rest = new Uint8Array(0)
    } else r.rest = rest
  }
  return r.at >= r.files.length
}

/** Of a torn scan nothing is gone that was there in the one before it. */
export const settled = (r: Reading, before: Reading['found'] | null): Reading['found'] => {
  if (!r.torn || before === null) return r.found
  const both = (side: Side): Listening => ({
    tcp: unionPorts(r.found[side].tcp, before[side].tcp),
    udp: unionPorts(r.found[side].udp, before[side].udp)
  })
  return { host: both('host'), ns: both('ns') }
}
