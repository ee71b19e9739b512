import { closeSync, fstatSync, fsyncSync, ftruncateSync, readSync, writeSync } from 'node:fs'
import { fileLine, type Level } from '../../codecs/log/log-line.js'
import { ENOSPC } from '../../codecs/value/errno.js'
import { BLOCK, cutFor, headerOver } from '../../machines/log/log-rotation.js'
import type { Native } from '../abi/abi.js'
import { failureText } from './error-text.js'
import type { Sink } from './log.js'

const utf8 = new TextEncoder()
/** Octets moved at a time where the filesystem cannot cut. */
const CHUNK = 1 << 16

/** Octets [from, size) to the start of the file. */
const moveUp = (fd: number, from: number, size: number): void => {
  const chunk = new Uint8Array(CHUNK)
  for (let at = from; at < size; ) {
    const n = readSync(fd, chunk, 0, CHUNK, at)
    if (n === 0) break
    writeSync(fd, chunk, 0, n, at - from)
    at += n
  }
  ftruncateSync(fd, size - from)
}

export interface LogFile extends Sink {
  /** To the disk (at the end). */
  readonly sync: () => void
}

/**
 * The file of --log-file, made or emptied, mode 0600, with `header` as its first line. `limit`: octets. A pipe or a device is
 * written to as it is. A full disk costs lines, not traffic: how many is said by the next one that can be written.
 * Throws what Native.openOutput() or the first write says. Calls after the start: pwrite64, pread64, fallocate, ftruncate, fsync.
 */
export const openLogFile = (
  native: Pick<Native, 'collapse' | 'openOutput' | 'writeNow'>,
  path: string,
  level: Level,
  limit: number,
  header: string
): LogFile => {
  const fd = native.openOutput(path, true)
  const regular = fstatSync(fd).isFile()
  let size = 0
  let lost = 0
  /** Of the filesystem: known after the first try. */
  let collapses = true

  /** Throws where nothing, or not all, could be written; the file is then as before. */
  const append = (line: string): void => {
    const b = utf8.encode(`${line}\n`)
    if (!regular) {
      const errno = native.writeNow(fd, b)
      if (errno !== 0) throw new Error(failureText(errno))
      return
    }
    let n = 0
    try {
      n = writeSync(fd, b, 0, b.length, size)
    } finally {
      if (n < b.length) ftruncateSync(fd, size)
    }
    if (n < b.length) throw new Error(failureText(ENOSPC))
    size += n
  }

  const rotate = (cut: number): void => {
    if (collapses && native.collapse(fd, 0, cut) === 0) size -= cut
    else {
      collapses = false
      moveUp(fd, cut, size)
      size -= cut
    }
    const start = new Uint8Array(Math.min(size, 2 * BLOCK))
    readSync(fd, start, 0, start.length, 0)
    const text = `${header} - log truncated at ${new Date().toISOString()}`
    writeSync(fd, headerOver(start, utf8.encode(text)), 0, undefined, 0)
  }

  const put = (line: string): void => {
    if (regular) {
      const cut = cutFor(size, utf8.encode(line).length + 1, limit)
      if (cut > 0) rotate(cut)
    }
    append(line)
  }

  try {
    append(header)
  } catch (e) {
    closeSync(fd)
    throw e
  }
  return {
    level,
    write: (ms, of, text) => {
      try {
        if (lost > 0) put(fileLine(ms, 'warning', `${lost} lines could not be written`))
        lost = 0
        put(fileLine(ms, of, text))
      } catch {
        lost++
      }
    },
    sync: () => {
      try {
        fsyncSync(fd)
      } catch {
        // a pipe
      }
    }
  }
}
