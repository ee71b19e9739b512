// The runner's TAP with what failed named once more, just before the summary: the last lines of a long log are what
// one gets to see of a run elsewhere.
import { appendFileSync } from 'node:fs'
import { relative } from 'node:path'
import { tap } from 'node:test/reporters'
import { sourceOf } from './compiled.mjs'

/** Lines for a failure: the test with its suites, its file, and what went wrong. */
const told = (names, { file, line, details: { error } }) => [
  `failed: ${names.join(' > ')} (${relative(process.cwd(), sourceOf(file ?? ''))}:${line ?? 0})`,
  ...String(error?.cause?.stack ?? error?.cause ?? error)
    .split('\n')
    .slice(0, 30)
    .map((text) => `  ${text}`)
]

/**
 * The events as they are, and before the summary (the first diagnostic of the whole run) the failures as diagnostics.
 * The failures go to the file FAILURES_FILE as well: scripts/run.mjs tells them after its last run.
 */
const failuresLast = async function* (source) {
  const open = new Map()
  const failures = []
  for await (const event of source) {
    const { type, data } = event
    if (type === 'test:start') open.set(`${data.file} ${data.nesting}`, data.name)
    // A suite fails with its tests; those are told.
    if (type === 'test:fail' && data.details.error?.failureType !== 'subtestsFailed') {
      const suites = Array.from({ length: data.nesting }, (_, n) => open.get(`${data.file} ${n}`))
      failures.push(...told([...suites, data.name], data))
    }
    if (type === 'test:diagnostic' && data.nesting === 0 && /^tests \d/.test(data.message)) {
      const file = process.env.FAILURES_FILE
      if (file !== undefined) appendFileSync(file, failures.map((message) => `${message}\n`).join(''))
      for (const message of failures.splice(0))
        yield { type: 'test:diagnostic', data: { nesting: 0, message } }
    }
    yield event
  }
}

export default (source) => tap(failuresLast(source))
