import type * as E from 'fp-ts/lib/Either.js'
import type { Trace } from '../../codecs/control/api.js'
import { showAddr } from '../../codecs/value/inany.js'
import { address, fault, flag, isAbsent, isObject, port, read } from './body.js'

const KEYS: ReadonlySet<string> = new Set(['flows', 'packets', 'flow', 'port', 'address'])

/** What is to be told of (openapi.json, NewTrace). Left: what is wrong with it. */
export const traceOf = (body: string): E.Either<string, Trace> =>
  read(body, (o) => {
    if (!isObject(o)) return fault('what is to be traced is an object')
    const other = Object.keys(o).find((k) => !KEYS.has(k))
    if (other !== undefined) return fault(`there is no ${other}; there are ${[...KEYS].join(', ')}`)
    const { flow = null } = o
    if (flow !== null && !(typeof flow === 'number' && Number.isInteger(flow) && flow >= 0))
      return fault('flow is no id of one')
    const of = address(o, 'address')
    const wanted = {
      flows: flag(o, 'flows'),
      packets: flag(o, 'packets'),
      flow,
      port: isAbsent(o.port) ? null : port(o, 'port', null),
      address: of === null ? null : showAddr(of)
    }
    const chooses = flow !== null || wanted.port !== null || of !== null
    return chooses && !wanted.flows && !wanted.packets
      ? fault('neither flows nor packets are to be traced')
      : wanted
  })
