import { request } from 'node:http'
import { setTimeout as later } from 'node:timers/promises'
import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { Counters, FlowInfo, RuleInfo, Status } from '../codecs/control/api.js'
import { VERSION } from '../runtime/cli/help.js'
import { CTL_USAGE, type CtlCommand, parseCtl } from '../runtime/ctl/options.js'
import { counterTable, flowTable, ruleTable, short, statusLines, topRows } from '../runtime/ctl/tables.js'
import { reasonText } from '../runtime/log/error-text.js'

// bin/passt-ctl: a client of the API (--api) in a terminal.

type Run = Extract<CtlCommand, { readonly tag: 'Run' }>

/** Of what it says that it is wrong, the API's own words. */
const get = (socketPath: string, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const q = request({ socketPath, path, timeout: 10_000 }, (r) => {
      const parts: Buffer[] = []
      r.on('data', (d: Buffer) => parts.push(d))
      r.on('error', reject)
      r.on('end', () => {
        const text = Buffer.concat(parts).toString()
        if (r.statusCode === 200) resolve(text)
        else reject(new Error(`the API refuses that: ${text.trim()}`))
      })
    })
    q.on('timeout', () => q.destroy(new Error('no answer')))
    q.on('error', (e) => reject(new Error(`${socketPath}: ${reasonText(e)}`)))
    q.end()
  })
const decoded = <A>(type: t.Type<A, unknown>, text: string): A => {
  const a = type.decode(JSON.parse(text))
  if (E.isLeft(a)) throw new Error('the API is of another version')
  return a.right
}
const Flows = t.type({ flows: t.array(FlowInfo) })
const Rules = t.type({ rules: t.array(RuleInfo) })

const flowsPath = (o: Run): string => {
  const query = new URLSearchParams(o.filters.map(([k, v]): [string, string] => [k, v])).toString()
  return query === '' ? '/v1/flows' : `/v1/flows?${query}`
}
const print = (lines: ReadonlyArray<string>): void => {
  process.stdout.write(lines.map((l) => `${l}\n`).join(''))
}

const top = async (o: Run): Promise<never> => {
  const { stdout } = process
  for (let before: ReadonlyArray<FlowInfo> = [], at = 0; ; ) {
    const now = performance.now()
    const { flows } = decoded(Flows, await get(o.path, flowsPath(o)))
    const rows = topRows(before, flows, at === 0 ? Number.POSITIVE_INFINITY : (now - at) / 1000)
    const sum = rows.reduce((n, r) => n + r.rate, 0)
    const lines = [
      `${flows.length} flows, ${short(sum)}B/s; TO-GUEST and TO-PEER: octets a second`,
      ...flowTable(rows)
    ]
    stdout.write(stdout.isTTY ? '\u001b[H\u001b[2J' : '')
    print(
      lines
        .slice(0, stdout.isTTY ? stdout.rows - 1 : 24)
        .map((l) => (stdout.isTTY ? l.slice(0, stdout.columns) : l))
    )
    before = flows
    at = now
    await later(1000)
  }
}

const run = async (o: Run): Promise<void> => {
  if (o.command === 'top') return top(o)
  const path =
    o.command === 'metrics' ? '/metrics' : o.command === 'flows' ? flowsPath(o) : `/v1/${o.command}`
  const text = await get(o.path, path)
  if (o.json || o.command === 'metrics') return void process.stdout.write(text)
  switch (o.command) {
    case 'status':
      return print(statusLines(decoded(Status, text)))
    case 'flows':
      return print(flowTable(decoded(Flows, text).flows))
    case 'rules':
      return print(ruleTable(decoded(Rules, text).rules))
    case 'counters':
      return print(counterTable(decoded(Counters, text)))
  }
}

const parsed = parseCtl(process.argv.slice(2))
const fail = (why: string): void => {
  process.stderr.write(`passt-ctl: ${why}\n`)
  process.exitCode = 1
}
process.stdout.on('error', () => process.exit(0))
if (E.isLeft(parsed)) fail(`${parsed.left}\n${CTL_USAGE}`)
else if (parsed.right.tag === 'Help') print([CTL_USAGE])
else if (parsed.right.tag === 'Version') print([`passt-ctl ${VERSION}`])
else run(parsed.right).catch((e) => fail(e instanceof Error ? e.message : String(e)))
