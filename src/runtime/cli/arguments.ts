import { readFileSync } from 'node:fs'
import { textOfOctets } from '../../codecs/value/octet-text.js'

/** The last `n` of the strings in /proc/PID/cmdline, each with its NUL; null: there are fewer. */
export const lastArguments = (cmdline: Uint8Array, n: number): ReadonlyArray<string> | null => {
  const ends = [...cmdline.keys()].filter((i) => cmdline[i] === 0).slice(-(n + 1))
  return ends.length <= n
    ? null
    : ends.slice(1).map((end, i) => textOfOctets(cmdline.subarray((ends[i] ?? 0) + 1, end)))
}

/** Our last arguments, `args` to Node, without loss: it puts U+FFFD for what is not UTF-8, the names of interfaces are octets. */
export const exactArguments = (args: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (!args.some((a) => a.includes('\ufffd'))) return args
  try {
    return lastArguments(readFileSync('/proc/self/cmdline'), args.length) ?? args
  } catch {
    return args // no /proc
  }
}
