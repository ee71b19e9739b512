import { readlinkSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import { type Level, logHeader, stderrLine } from '../../codecs/log/log-line.js'
import { SyslogMessage, severityOf } from '../../codecs/log/syslog.js'
import type { Native } from '../abi/abi.js'
import { errnoOf, reasonText } from './error-text.js'
import { type Log, logTo, type Sink } from './log.js'
import { type LogFile, openLogFile } from './log-file.js'

// Which message goes where (behaviour.md#log-sinks):
//
//   standard error   until the program is in background; for good in foreground, -d and --trace with the time
//   system logger    unless there is a log file or -d: from the start on, so that the loop finds it connected
//   log file         -l
//
// All of them are open before the sandbox closes: nothing can be opened or connected later. So a system logger that
// makes its socket anew loses our lines from there on (systemd keeps its socket when the logger starts again).

const STDERR = 2
const DEV_LOG = '/dev/log'
const utf8 = new TextEncoder()

/** Of the options, what says where messages go. */
export interface LogOptions {
  readonly mode: string
  readonly trace: boolean
  readonly debug: boolean
  readonly quiet: boolean
  readonly quietAsked: boolean
  readonly logFile: string | null
  /** Octets. */
  readonly logSize: number
}

const levelOf = (o: LogOptions, quiet: boolean): Level =>
  o.trace ? 'trace' : o.debug ? 'debug' : quiet ? 'warning' : 'info'

const stderrSink = (native: Native, o: LogOptions): Sink => ({
  level: levelOf(o, o.quiet),
  write: (ms, level, text) => {
    native.writeNow(STDERR, utf8.encode(`${stderrLine(o.debug ? ms : null, level, text)}\n`))
  }
})

/** null: nobody listens there. */
const syslogSink = (native: Native, o: LogOptions): Sink | null => {
  const fd = native.openSyslog(DEV_LOG)
  if (fd < 0) return null
  return {
    level: levelOf(o, o.quietAsked),
    write: (_, level, text) => {
      native.writeNow(fd, SyslogMessage.encode({ severity: severityOf(level), ident: o.mode, text }))
    }
  }
}

/** The program that the user started: the launcher, our parent. */
const program = (argv0: string): string => {
  try {
    return readlinkSync(`/proc/${process.ppid}/exe`)
  } catch {
    return argv0
  }
}

export interface Logging {
  readonly log: Log
  /** The program is in background: standard error is not ours any more. */
  readonly background: () => void
  /** Why it ends, for whoever does not read standard error. */
  readonly fatal: (text: string) => void
  /** The end: lines to the disk. */
  readonly sync: () => void
}

/** All sinks that the options ask for. Left: the log file cannot be had, why and errno(3), 0 where none applies. */
export const openLogging = (
  native: Native,
  argv0: string,
  version: string,
  o: LogOptions
): E.Either<{ readonly errno: number; readonly text: string }, Logging> => {
  const start = native.now()
  const stderr = stderrSink(native, o)
  let file: LogFile | null = null
  if (o.logFile !== null)
    try {
      const header = logHeader(o.mode, version, program(argv0), process.ppid)
      file = openLogFile(native, o.logFile, levelOf(o, o.quietAsked), o.logSize, header)
    } catch (e) {
      return E.left({ errno: errnoOf(e), text: `cannot write the log file ${o.logFile}: ${reasonText(e)}` })
    }
  const other = file ?? (o.debug ? null : syslogSink(native, o))
  const sinks: Sink[] = other === null ? [stderr] : [stderr, other]
  return E.right({
    log: logTo(sinks, start, () => native.now()),
    background: () => {
      sinks.splice(sinks.indexOf(stderr), 1)
    },
    fatal: (text) => other?.write(native.now() - start, 'error', text),
    sync: () => file?.sync()
  })
}
