import { once } from 'node:events'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import * as E from 'fp-ts/lib/Either.js'
import type { RecordInfo, RuleChange, RuleInfo } from '../../codecs/control/api.js'
import { fault, isObject, read } from './body.js'
import { carefulServer } from './careful-server.js'
import type { AnswerTo, Engine } from './engine-line.js'
import { filterOf, passes } from './filter.js'
import { type Following, following } from './follow.js'
import { metrics, OPENMETRICS } from './metrics.js'
import { blocksOf, patchOf, ruleOf, rulesOf } from './rule-body.js'
import { traceOf } from './trace-body.js'

// What the API answers (behaviour.md#api, openapi.json). Its clients are not trusted: they have bounded headers and bodies, and little time.

/** Connections at a time; further ones are closed at once. */
export const CLIENTS_MAX = 64
const NDJSON = 'application/x-ndjson'
const BODY_MAX = 16_384
const NO_QUERY = 'no query is understood here'
/** ms: for a connection on which nothing moves. */
const IDLE_MS = 10_000

/** `status`, and a value that becomes JSON. */
const json = (r: ServerResponse, status: number, value: unknown): void => {
  const body = `${JSON.stringify(value)}\n`
  r.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  r.end(r.req.method === 'HEAD' ? undefined : body)
}
const refuse = (r: ServerResponse, status: number, error: string): void => {
  r.setHeader('connection', 'close')
  json(r, status, { error })
}

const allRules = async ({ ask }: Engine): Promise<ReadonlyArray<RuleInfo>> => {
  const rules: RuleInfo[] = []
  for (let from: number | null = 0; from !== null; ) {
    const page: AnswerTo<'rules'> = await ask<'rules'>({ ask: 'rules', from })
    rules.push(...page.rules)
    from = page.next
  }
  return rules
}

/** A request, as routes see it. */
interface Asked {
  readonly engine: Engine
  readonly following: Following
  readonly query: URLSearchParams
  /** What follows the path of the route, decoded; '': nothing. */
  readonly name: string
  readonly body: string
}
type Route = (a: Asked, r: ServerResponse) => Promise<void>

/** Page by page, as fast as the client reads. */
const flows: Route = async ({ engine: { ask }, query }, r) => {
  const filter = filterOf(query)
  if (E.isLeft(filter)) return refuse(r, 400, filter.left)
  r.writeHead(200, { 'content-type': 'application/json' })
  if (r.req.method === 'HEAD') return void r.end()
  let separator = '{"flows":[\n'
  for (let from: number | null = 0; from !== null && !r.destroyed; ) {
    const page: AnswerTo<'flows'> = await ask<'flows'>({ ask: 'flows', from })
    for (const f of page.flows.filter((flow) => passes(filter.right, flow))) {
      r.write(separator + JSON.stringify(f))
      separator = ',\n'
    }
    from = page.next
    if (r.writableNeedDrain && !r.destroyed) await Promise.race([once(r, 'drain'), once(r, 'close')])
  }
  r.end(separator === ',\n' ? '\n]}\n' : '{"flows":[]}\n')
}
const events: Route = async ({ following: { add }, query }, r) => {
  const filter = filterOf(query)
  if (E.isLeft(filter)) return refuse(r, 400, filter.left)
  r.writeHead(200, { 'content-type': NDJSON })
  if (r.req.method === 'HEAD') return void r.end()
  r.flushHeaders()
  add(r, filter.right)
}
const prometheus: Route = async ({ engine }, r) => {
  const { status } = await engine.ask<'status'>({ ask: 'status' })
  const { counters } = await engine.ask<'counters'>({ ask: 'counters' })
  const text = metrics(status, counters, await allRules(engine))
  r.writeHead(200, { 'content-type': OPENMETRICS, 'content-length': Buffer.byteLength(text) })
  r.end(r.req.method === 'HEAD' ? undefined : text)
}
const plain =
  (value: (e: Engine) => Promise<unknown>): Route =>
  async ({ engine, query }, r) => {
    if (query.size > 0) return refuse(r, 400, NO_QUERY)
    json(r, 200, await value(engine))
  }

const NO_CHANGE: RuleChange = { remove: [], replace: [], add: [] }
const STATUS = { same: 200, missing: 404, refused: 409 } as const
/** `ids`: of the rules that there are then. `done`: what a change is answered. */
const change = async (
  { engine }: Asked,
  r: ServerResponse,
  c: Partial<RuleChange>,
  ids: ReadonlyArray<string>,
  done: 200 | 201
): Promise<void> => {
  const told = engine.change({ ...NO_CHANGE, ...c })
  if (told === null) return refuse(r, 413, 'so many rules are too much at once')
  const { outcome, why } = await told
  if (why !== '') return refuse(r, outcome === 'missing' ? 404 : 409, why)
  json(r, outcome === 'done' ? done : STATUS[outcome], { changed: outcome === 'done', ids })
}
const addRules: Route = async (a, r) => {
  const rules = rulesOf(a.body)
  if (E.isLeft(rules)) return refuse(r, 400, rules.left)
  const ids = rules.right.map(({ id }) => id)
  return change(a, r, { add: blocksOf(rules.right) }, ids, 201)
}
const patchRules: Route = async (a, r) => {
  const asked = patchOf(a.body)
  if (E.isLeft(asked)) return refuse(r, 400, asked.left)
  const { remove, add } = asked.right
  const ids = add.map(({ id }) => id)
  return change(a, r, { remove, add: blocksOf(add) }, ids, 200)
}
const putRule: Route = async (a, r) => {
  const rule = ruleOf(a.body)
  if (E.isLeft(rule)) return refuse(r, 400, rule.left)
  const { id, block } = rule.right
  if (id !== a.name) return refuse(r, 400, `the identifier of that rule is ${id}`)
  return change(a, r, { replace: [id], add: [block] }, [id], 201)
}
const removeRule: Route = (a, r) => change(a, r, { remove: [a.name] }, [], 200)

const record =
  (status: (info: RecordInfo) => number) =>
  async ({ engine }: Pick<Asked, 'engine'>, r: ServerResponse, on: boolean | null): Promise<void> => {
    const { record: info } = await engine.ask<'record'>({ ask: 'record', on })
    if (info === null) return refuse(r, 409, 'there is no record: it takes --record FILE')
    const is = status(info)
    if (is === 409)
      return refuse(r, is, `the record cannot ${on ? 'begin' : 'end'}: ${info.ended ?? 'nobody knows why'}`)
    json(r, is, info)
  }
const recordState: Route = (a, r) =>
  a.query.size > 0 ? Promise.resolve(refuse(r, 400, NO_QUERY)) : record(() => 200)(a, r, null)
const setRecord: Route = async (a, r) => {
  const wanted = recordOf(a.body)
  if (E.isLeft(wanted)) return refuse(r, 400, 'the body is to be {"on": true} or {"on": false}')
  // 202: it begins once it can; 409: it cannot
  const status = ({ on, waits }: RecordInfo): number =>
    on === wanted.right ? 200 : waits !== null ? 202 : 409
  return record(status)(a, r, wanted.right)
}
const recordOf = (body: string): E.Either<string, boolean> =>
  read(body, (o) =>
    isObject(o) && Object.keys(o).length === 1 && typeof o.on === 'boolean' ? o.on : fault('neither')
  )

const trace = plain(async (e) => (await e.ask<'trace'>({ ask: 'trace', trace: null })).trace)
const putTrace: Route = async ({ engine, body }, r) => {
  const wanted = traceOf(body)
  if (E.isLeft(wanted)) return refuse(r, 400, wanted.left)
  const { trace: is } = await engine.ask<'trace'>({ ask: 'trace', trace: wanted.right })
  if (is === 'no flow') return refuse(r, 404, `there is no flow ${wanted.right.flow}`)
  if (is === 'no log')
    return refuse(r, 409, 'in background, without a log file or a system logger, there is no log')
  json(r, 200, is)
}

type Methods = Readonly<Record<string, Route>>
const reads = (route: Route): Methods => ({ GET: route, HEAD: route })
const ROUTES: Readonly<Record<string, Methods>> = {
  '/v1/status': reads(plain(async ({ ask }) => (await ask<'status'>({ ask: 'status' })).status)),
  '/v1/counters': reads(plain(async ({ ask }) => (await ask<'counters'>({ ask: 'counters' })).counters)),
  '/v1/rules': {
    ...reads(plain(async (e) => ({ rules: await allRules(e) }))),
    POST: addRules,
    PATCH: patchRules
  },
  '/v1/trace': { ...reads(trace), PUT: putTrace },
  '/v1/flows': reads(flows),
  '/v1/events': reads(events),
  '/v1/record': { ...reads(recordState), POST: setRecord },
  '/metrics': reads(prometheus)
}
/** What stands in front of a name. */
const NAMED: Readonly<Record<string, Methods>> = {
  '/v1/rules/': { PUT: putRule, DELETE: removeRule }
}
const own = <A>(o: Readonly<Record<string, A>>, key: string): A | undefined =>
  Object.hasOwn(o, key) ? o[key] : undefined

/** null: it is longer than that. */
const bodyOf = async (q: IncomingMessage): Promise<string | null> => {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of q as AsyncIterable<Buffer>) {
    length += part.length
    if (length > BODY_MAX) return null
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}
const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

/**
 * Path and query of a request's target: in absolute form (RFC 9112 §3.2.2), whoever it names is us, as with Host.
 */
export const targetOf = (url: string): string => {
  const rest = /^http:\/\/[^/?#]*(.*)$/is.exec(url)?.[1]
  return rest === undefined ? url : rest.startsWith('/') ? rest : `/${rest}`
}

/** Whose connection it is. */
export interface Clients {
  /** Is it of who started us, or root? The socket's mode says who else may come, to look. */
  readonly mayChange: (socket: Socket) => boolean
}

const answer = async (
  engine: Engine,
  following: Following,
  clients: Clients,
  routes: Readonly<Record<string, Methods>>,
  q: IncomingMessage,
  r: ServerResponse
): Promise<void> => {
  const [path = '', ...query] = targetOf(q.url ?? '').split('?')
  const slash = path.lastIndexOf('/') + 1
  const name = path.slice(slash)
  const methods = own(routes, path) ?? (name === '' ? undefined : own(NAMED, path.slice(0, slash)))
  if (methods === undefined) return refuse(r, 404, 'there is nothing of that name')
  const route = own(methods, q.method ?? '')
  if (route === undefined) {
    r.setHeader('allow', Object.keys(methods).join(', '))
    return refuse(r, 405, 'that is not done here')
  }
  const looks = q.method === 'GET' || q.method === 'HEAD'
  if (!looks && !clients.mayChange(q.socket))
    return refuse(r, 403, 'who is neither of the user that started this, nor root, may only look')
  // Whoever asks for a change that is not what it would be is told so
  if (!looks && query.length > 0) return refuse(r, 400, NO_QUERY)
  const body = await bodyOf(q)
  if (body === null || (looks && body !== '')) return refuse(r, 413, 'the body is too long')
  return route(
    { engine, following, query: new URLSearchParams(query.join('?')), name: decoded(name), body },
    r
  )
}

/** To be told where it listens. `openapi`: the document, JSON. */
export const apiServer = (engine: Engine, clients: Clients, openapi: unknown): Server => {
  const routes = { ...ROUTES, '/v1/openapi.json': reads(plain(async () => openapi)) }
  const follow = following(engine)
  const take: RequestListener = (q, r) =>
    void answer(engine, follow, clients, routes, q, r).catch(() => r.destroy())
  return carefulServer(take, { clients: CLIENTS_MAX, idleMs: IDLE_MS })
}
