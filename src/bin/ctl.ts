import { type IncomingMessage, request } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as later } from 'node:timers/promises'
import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import {
  Counters,
  FlowEvent,
  FlowInfo,
  RecordInfo,
  RuleInfo,
  Status,
  TraceInfo
} from '../codecs/control/api.js'
import { type ConfRule, type ConfTable, hasTarget, PIF } from '../codecs/control/conf.js'
import { visible, visibleLines } from '../codecs/text/visible.js'
import { showAddr } from '../codecs/value/inany.js'
import { capabilitiesOf, tablesOf } from '../machines/forward/conf-rules.js'
import { edited } from '../machines/forward/pesto.js'
import { VERSION } from '../runtime/cli/help.js'
import { CTL_USAGE, type CtlCommand, parseCtl } from '../runtime/ctl/options.js'
import {
  counterTable,
  eventLine,
  flowTable,
  recordLine,
  ruleTable,
  short,
  statusLines,
  topRows,
  traceLines
} from '../runtime/ctl/tables.js'
import { ephemeralPorts } from '../runtime/host/ephemeral-ports.js'
import { reasonText } from '../runtime/log/error-text.js'

// bin/passt-ctl: a client of the API (--api) in a terminal.

/** Of the page of `web`: the build puts them in (scripts/run.mjs). */
declare const LIVE_SCRIPT: string
declare const LIVE_STYLE: string

const errorOf = (text: string): string => {
  try {
    const { error } = JSON.parse(text) as { readonly error?: unknown }
    return typeof error === 'string' ? error : text.trim()
  } catch {
    return text.trim()
  }
}

type Run = Extract<CtlCommand, { readonly tag: 'Run' }>

const refusal = (text: string): Error => new Error(`the API refuses that: ${errorOf(text)}`)
/** `heard` has the answer; `failed`: there is none, or it breaks off. */
const send = (
  socketPath: string,
  method: string,
  path: string,
  body: string,
  heard: (r: IncomingMessage, broken: (e: Error) => void) => void,
  failed: (e: Error) => void
): void => {
  const broken = (e: Error): void => failed(new Error(`${socketPath}: ${reasonText(e)}`))
  const q = request({ socketPath, method, path, timeout: 10_000 }, (r) => heard(r, broken))
  q.on('timeout', () => q.destroy(new Error('no answer')))
  q.on('error', broken)
  q.end(body)
}
/** Of what it says that it is wrong, the API's own words. */
const ask = (socketPath: string, method: string, path: string, body = ''): Promise<string> =>
  new Promise((resolve, reject) => {
    const heard = (r: IncomingMessage): void => {
      const parts: Buffer[] = []
      r.on('data', (d: Buffer) => parts.push(d))
      r.on('error', reject)
      r.on('end', () => {
        const text = Buffer.concat(parts).toString()
        if (r.statusCode === 200 || r.statusCode === 201 || r.statusCode === 202) resolve(text)
        else reject(refusal(text))
      })
    }
    send(socketPath, method, path, body, heard, reject)
  })
const get = (socketPath: string, path: string): Promise<string> => ask(socketPath, 'GET', path)
const decoded = <A>(type: t.Type<A, unknown>, text: string): A => {
  const a = type.decode(JSON.parse(text))
  if (E.isLeft(a)) throw new Error('the API is of another version')
  return a.right
}
const Flows = t.type({ flows: t.array(FlowInfo) })
const Rules = t.type({ rules: t.array(RuleInfo) })

const queryOf = (o: Run): string => {
  const query = new URLSearchParams(o.filters.map(([k, v]): [string, string] => [k, v])).toString()
  return query === '' ? '' : `?${query}`
}
const flowsPath = (o: Run): string => `/v1/flows${queryOf(o)}`
/** For people. What is for programs is written as it is. */
const print = (lines: ReadonlyArray<string>): void => {
  process.stdout.write(lines.map((l) => `${visible(l)}\n`).join(''))
}
/** An answer, for programs or for people. */
const tell = <A>(
  json: boolean,
  text: string,
  of: t.Type<A, unknown>,
  lines: (a: A) => ReadonlyArray<string>
): void => {
  if (json) process.stdout.write(text)
  else print(lines(decoded(of, text)))
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

const Lost = t.type({ event: t.literal('lost'), count: t.number })
/** A line of what GET /v1/events says, for people. */
const eventText = (line: string): string => {
  const value: unknown = JSON.parse(line)
  return Lost.is(value) ? `${value.count} events were lost` : eventLine(decoded(FlowEvent, line))
}
const events = (o: Run): Promise<void> =>
  new Promise((_, reject) => {
    const heard = (r: IncomingMessage, broken: (e: Error) => void): void => {
      const lines = createInterface({ input: r })
      lines.on('error', broken)
      lines.on('line', (line) => {
        if (r.statusCode !== 200) return reject(refusal(line))
        if (line !== '') o.json ? process.stdout.write(`${line}\n`) : print([eventText(line)])
      })
      lines.on('close', () => reject(new Error('it has ended')))
    }
    send(o.path, 'GET', `/v1/events${queryOf(o)}`, '', heard, reject)
  })

const run = async (o: Run): Promise<void> => {
  if (o.command === 'top') return top(o)
  if (o.command === 'events') return events(o)
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

/** What a control socket would say of it, for what pesto's options mean there. */
const tablesOfStatus = (s: Status): ReadonlyArray<ConfTable> => {
  const env = {
    mode: s.mode,
    tcp: s.serves.includes('tcp'),
    udp: s.serves.includes('udp'),
    v4: s.ipv4 !== null,
    v6: s.ipv6 !== null
  }
  return tablesOf(s.mode).map(({ pif, name }) => ({
    pif,
    name,
    capabilities: capabilitiesOf(env),
    rules: []
  }))
}
const asAsked = (pif: number, r: ConfRule): object => ({
  direction: pif === PIF.HOST ? 'in' : 'out',
  proto: r.proto,
  address: r.any ? null : showAddr(r.address),
  interface: r.ifname === '' ? null : r.ifname,
  firstPort: r.first,
  lastPort: r.last,
  toAddress: hasTarget(r) ? showAddr(r.target) : null,
  toPort: r.to,
  bestEffort: r.weak,
  auto: r.scan
})
const Changed = t.type({ changed: t.boolean, ids: t.array(t.string) })

const add = async ({ path, operations }: Extract<CtlCommand, { tag: 'Add' }>): Promise<void> => {
  const tables = tablesOfStatus(decoded(Status, await get(path, '/v1/status')))
  const wanted = edited(tables, [{ type: 'add' }, ...operations], ephemeralPorts())
  if (E.isLeft(wanted)) throw new Error(wanted.left)
  const rules = wanted.right.tables.flatMap(({ pif, rules: all }) => all.map((r) => asAsked(pif, r)))
  const { changed, ids } = decoded(Changed, await ask(path, 'POST', '/v1/rules', JSON.stringify({ rules })))
  print(ids.map((id) => (changed ? id : `${id}: was there already`)))
}
const remove = async ({ path, ids }: Extract<CtlCommand, { tag: 'Delete' }>): Promise<void> => {
  for (const id of ids) await ask(path, 'DELETE', `/v1/rules/${encodeURIComponent(id)}`)
}

const record = async ({ path, on, json }: Extract<CtlCommand, { tag: 'Record' }>): Promise<void> => {
  const text = await (on === null
    ? get(path, '/v1/record')
    : ask(path, 'POST', '/v1/record', JSON.stringify({ on })))
  tell(json, text, RecordInfo, (r) => [recordLine(r)])
}

const trace = async ({ path, wanted, json }: Extract<CtlCommand, { tag: 'Trace' }>): Promise<void> => {
  const text =
    wanted === null
      ? await get(path, '/v1/trace')
      : await ask(path, 'PUT', '/v1/trace', JSON.stringify(wanted))
  tell(json, text, TraceInfo, traceLines)
}

/** What it takes is loaded here: other commands need no charts. Ends with the program that is shown, or a signal. */
const web = async ({ path, port }: Extract<CtlCommand, { tag: 'Web' }>): Promise<void> => {
  decoded(Status, await get(path, '/v1/status'))
  const { serve } = await import('../runtime/web/serve.js')
  const { url, ended } = await serve(path, port, { script: LIVE_SCRIPT, style: LIVE_STYLE })
  print([url])
  return ended
}

const done = (c: Exclude<CtlCommand, { tag: 'Help' | 'Version' }>): Promise<void> => {
  switch (c.tag) {
    case 'Add':
      return add(c)
    case 'Delete':
      return remove(c)
    case 'Record':
      return record(c)
    case 'Trace':
      return trace(c)
    case 'Web':
      return web(c)
    case 'Run':
      return run(c)
  }
}

const parsed = parseCtl(process.argv.slice(2))
const fail = (why: string): void => {
  process.stderr.write(`passt-ctl: ${visibleLines(why)}\n`)
  process.exitCode = 1
}
process.stdout.on('error', (e: NodeJS.ErrnoException) => {
  // Who reads no further, as head(1) does, has had enough
  if (e.code === 'EPIPE') process.exit(0)
  fail(reasonText(e))
  process.exit()
})
if (E.isLeft(parsed)) fail(`${parsed.left}\n${CTL_USAGE}`)
else if (parsed.right.tag === 'Help') print(CTL_USAGE.split('\n'))
else if (parsed.right.tag === 'Version') print([`passt-ctl ${VERSION}`])
else done(parsed.right).catch((e) => fail(e instanceof Error ? e.message : String(e)))
