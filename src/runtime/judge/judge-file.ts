import { closeSync, openSync, readSync } from 'node:fs'
import { type CaptureFormat, NEW_CAPTURE, nextInCapture } from '../../codecs/log/capture-file.js'
import { octets, sub } from '../../codecs/value/octets.js'
import { createJudge, LIMITS } from '../../machines/judge/judge.js'
import { judgedEndpointMachine } from '../../machines/judge/judged-endpoint.js'
import { compile } from '../machine/compile.js'
import type { JudgeOptions } from './options.js'
import { Collected, type Report } from './report.js'

/** Octets to read at a time. */
const CHUNK = 0x100000

/** Octets of a file, by pieces: what was not used of one is in front of the next. */
class Source {
  private bytes = new Uint8Array(CHUNK)
  private from = 0
  private to = 0
  ended = false
  constructor(private readonly fd: number) {}
  /** What is there. */
  get octets() {
    return sub(octets(this.bytes), this.from, this.to - this.from)
  }
  use(n: number): void {
    this.from += n
  }
  /** Read on until there are `need`, or the end. */
  fill(need: number): void {
    if (this.bytes.length < need + CHUNK) {
      const larger = new Uint8Array(need + CHUNK)
      larger.set(this.bytes.subarray(this.from, this.to))
      this.bytes = larger
    } else this.bytes.copyWithin(0, this.from, this.to)
    this.to -= this.from
    this.from = 0
    while (this.to < need && !this.ended) {
      const n = readSync(this.fd, this.bytes, this.to, this.bytes.length - this.to, null)
      if (n === 0) this.ended = true
      this.to += n
    }
  }
}

/** The whole capture at descriptor `fd`. Throws what read(2) fails with. */
export const judgeCapture = (fd: number, o: JudgeOptions): Report => {
  const judge = createJudge(compile(judgedEndpointMachine), LIMITS, o.ordered)
  const found = new Collected(o)
  const source = new Source(fd)
  let format: CaptureFormat = NEW_CAPTURE
  let begins: number | null = null
  let fault: string | null = null
  let cut = false
  source.fill(1)
  if (source.octets.len === 0) fault = 'the file is empty'
  while (fault === null) {
    const s = nextInCapture(format, source.octets)
    if (s.tag === 'Fault') {
      fault = s.reason
      break
    }
    if (s.tag === 'More') {
      const have = source.octets.len
      if (!source.ended) source.fill(s.need)
      if (source.octets.len > have) continue
      if (format.kind === 'unknown') fault = 'neither pcap nor pcapng'
      else cut = have > 0
      break
    }
    if (s.tag === 'Frame') {
      begins ??= s.frame.at
      for (const f of judge.frame(s.frame)) found.add(f)
    }
    if (s.tag === 'Format') format = s.format
    if (s.tag === 'Dropped') judge.dropped(s.frames)
    source.use(s.used)
  }
  return {
    path: o.path,
    counts: judge.counts(),
    findings: found.sorted(),
    must: found.must,
    should: found.should,
    begins,
    fault,
    cut
  }
}

export const judgeFile = (o: JudgeOptions): Report => {
  if (o.path === '-') return judgeCapture(0, o)
  const fd = openSync(o.path, 'r')
  try {
    return judgeCapture(fd, o)
  } finally {
    closeSync(fd)
  }
}
