import * as E from 'fp-ts/lib/Either.js'
import { oneLine } from '../codecs/log/log-line.js'
import { VERSION } from '../runtime/cli/help.js'
import { print } from '../runtime/cli/print.js'
import { judgeFile } from '../runtime/judge/judge-file.js'
import { parseJudgeOptions, USAGE } from '../runtime/judge/options.js'
import { asJson, asText, rulesText } from '../runtime/judge/report.js'
import { reasonText } from '../runtime/log/error-text.js'

const say = (text: string): void => print(2, `passt-judge: ${oneLine(text)}\n`)
const answer = (text: string): void => print(1, `${text}\n`)

const run = (argv: readonly string[]): number => {
  const command = parseJudgeOptions(argv)
  if (E.isLeft(command)) {
    say(`${command.left} (--help)`)
    return 2
  }
  switch (command.right.tag) {
    case 'Help':
      answer(USAGE)
      return 0
    case 'Version':
      answer(`passt-judge ${VERSION}`)
      return 0
    case 'Rules':
      answer(rulesText())
      return 0
    case 'Judge': {
      const { options } = command.right
      try {
        const report = judgeFile(options)
        answer(options.json ? asJson(report) : asText(report))
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

const main = (argv: readonly string[]): number => {
  try {
    return run(argv)
  } catch (e) {
    say(reasonText(e))
    return 2
  }
}

process.exitCode = main(process.argv.slice(2))
