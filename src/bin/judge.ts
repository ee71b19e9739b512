import { writeSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import { oneLine } from '../codecs/log/log-line.js'
import { VERSION } from '../runtime/cli/help.js'
import { judgeFile } from '../runtime/judge/judge-file.js'
import { parseJudgeOptions, USAGE } from '../runtime/judge/options.js'
import { asJson, asText, rulesText } from '../runtime/judge/report.js'
import { reasonText } from '../runtime/log/error-text.js'

/** All of it, also into a pipe that is full. */
const print = (fd: number, text: string): void => {
  const bytes = Buffer.from(`${text}\n`)
  for (let at = 0; at < bytes.length; )
    try {
      at += writeSync(fd, bytes, at)
    } catch (e) {
      const { code } = e as NodeJS.ErrnoException
      if (code === 'EPIPE') return
      if (code !== 'EAGAIN') throw e
    }
}
const say = (text: string): void => print(2, `passt-judge: ${oneLine(text)}`)

const main = (argv: readonly string[]): number => {
  const command = parseJudgeOptions(argv)
  if (E.isLeft(command)) {
    say(`${command.left} (--help)`)
    return 2
  }
  switch (command.right.tag) {
    case 'Help':
      print(1, USAGE)
      return 0
    case 'Version':
      print(1, `passt-judge ${VERSION}`)
      return 0
    case 'Rules':
      print(1, rulesText())
      return 0
    case 'Judge': {
      const { options } = command.right
      try {
        const report = judgeFile(options)
        print(1, options.json ? asJson(report) : asText(report))
        if (report.fault !== null) {
          say(`${options.path}, behind frame ${report.counts.frames}: ${report.fault}`)
          return 2
        }
        return report.must > 0 ? 1 : 0
      } catch (e) {
        say(`${options.path}: ${reasonText(e)}`)
        return 2
      }
    }
  }
}

process.exitCode = main(process.argv.slice(2))
