import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets } from '../value/octets.js'
import { type Level, oneLine } from './log-line.js'

/** A message to the system logger. The text is one line (log-line.ts). */
export interface SyslogMessage {
  readonly severity: Severity
  /** Who says it: letters, digits, `-`, `_`, `.`. */
  readonly ident: string
  readonly text: string
}
/** RFC 3164 §4.1.1 */
export type Severity = 3 | 4 | 6 | 7
const SEVERITIES: Readonly<Record<Level, Severity>> = { error: 3, warning: 4, info: 6, debug: 7, trace: 7 }
export const severityOf = (level: Level): Severity => SEVERITIES[level]

/** System daemons (RFC 3164 §4.1.1); the kernel's own, 0, is not for programs. */
const FACILITY = 3 << 3
/** Octets of a message that every logger takes (RFC 3164 §4.1). */
export const SYSLOG_MAX = 1024

const PATTERN = /^<(\d{1,3})>([\w.-]+): (.*)$/su

const decode = (o: Octets): SyslogMessage | string => {
  const m = PATTERN.exec(new TextDecoder().decode(bytesOf(o)))
  if (m === null) return 'syslog: no <PRI>ident: text'
  const severity = Number(m[1]) - FACILITY
  if (severity !== 3 && severity !== 4 && severity !== 6 && severity !== 7) return `syslog: priority ${m[1]}`
  return { severity, ident: m[2], text: m[3] }
}

/** As many octets as there may be, no character cut. */
const cut = (b: Uint8Array): Uint8Array => {
  if (b.length <= SYSLOG_MAX) return b
  let end = SYSLOG_MAX
  while ((b[end] & 0xc0) === 0x80) end--
  return b.subarray(0, end)
}

/**
 * Shape: `<PRI>ident: text`, UTF-8, at most 1024 octets; no time, which the logger adds (RFC 3164 §4.3.3).
 * Left: another form, another facility or severity.
 * Law: decode(encode(m)) = right(m) where text is one line and fits.   Source: RFC 3164 §4.1.
 */
export const SyslogMessage: t.Type<SyslogMessage, Uint8Array, Octets> = wireCodec(
  'SyslogMessage',
  decode,
  (m) => cut(new TextEncoder().encode(`<${FACILITY + m.severity}>${m.ident}: ${oneLine(m.text)}`))
)
