/** Levels as in the manual: -q shows warnings and errors, default also info, -d debug, --trace single packets. */
export type Level = 'error' | 'warning' | 'info' | 'debug' | 'trace'
export const RANK: Readonly<Record<Level, number>> = { error: 0, warning: 1, info: 2, debug: 3, trace: 4 }

/** Characters of a message; more are cut off. A line of any sink stays below `LINE_MAX` octets. */
export const TEXT_MAX = 640
/** Octets, the line's end included: what a full pipe takes whole, and no system logger cuts (RFC 3164 §4.1). */
export const LINE_MAX = 2048

/**
 * One line, whatever is in it: part of the text may come from a guest or a file. Control characters, and what moves a
 * terminal's cursor or turns the reading direction, become `?`; line ends become ` | `.
 */
export const oneLine = (text: string): string => {
  const flat = text
    .trimEnd()
    .replace(/\s*[\r\n\u2028\u2029]+\s*/gu, ' | ')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '?')
  return flat.length > TEXT_MAX ? `${flat.slice(0, TEXT_MAX - 1)}…` : flat
}

/** ms since start as `S.ssss`. */
export const stamp = (ms: number): string => (ms / 1000).toFixed(4)

/** Nine characters each, so that messages stand below each other (behaviour.md#log-lines). */
const FILE_TAGS: Readonly<Record<Level, string>> = {
  error: 'ERROR:   ',
  warning: 'WARNING: ',
  info: 'info:    ',
  debug: '         ',
  trace: '         '
}

/** A line of the log file, without its end. `ms`: since start. */
export const fileLine = (ms: number, level: Level, text: string): string =>
  `${stamp(ms)}: ${FILE_TAGS[level]}${oneLine(text)}`

/** A line for standard error, without its end; `ms`: since start, null to leave it out. */
export const stderrLine = (ms: number | null, level: Level, text: string): string => {
  const tag = level === 'error' || level === 'warning' ? `${level}: ` : ''
  return `${ms === null ? '' : `${stamp(ms)}: `}${tag}${oneLine(text)}`
}

/** First line of a log file, without its end. */
export const logHeader = (mode: string, version: string, path: string, pid: number): string =>
  oneLine(`${mode} ${version}: ${path} (${pid})`)
