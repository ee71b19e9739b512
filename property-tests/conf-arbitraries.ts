import fc from 'fast-check'
import type { ClientPart, ConfBlock, ConfRule, ConfTable, ServerPart } from '../src/codecs/control/conf.js'
import { UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { arbInAny, arbU16, arbU32, plain } from './arbitraries.js'

// Rules at a control socket, and the parts that hold them.

const arbName = (max: number): fc.Arbitrary<string> =>
  fc.stringMatching(/^[a-zA-Z0-9.:_-]*$/).map((s) => s.slice(0, max))

export const arbConfRule = (targets: boolean): fc.Arbitrary<ConfRule> =>
  plain<ConfRule>({
    address: arbInAny,
    target: targets ? fc.oneof(arbInAny, fc.constant(UNSPECIFIED6)) : fc.constant(UNSPECIFIED6),
    ifname: arbName(15),
    first: arbU16,
    last: arbU16,
    to: arbU16,
    proto: fc.constantFrom('tcp', 'udp'),
    any: fc.boolean(),
    weak: fc.boolean(),
    scan: fc.boolean()
  })
const arbRules = (targets: boolean) => fc.array(arbConfRule(targets), { maxLength: 6 })

const arbBlock: fc.Arbitrary<ConfBlock> = plain({
  pif: fc.integer({ min: 1, max: 255 }),
  rules: arbRules(true)
})
export const arbClientPart: fc.Arbitrary<ClientPart> = fc.array(arbBlock, { maxLength: 5 })

const arbTable = (targets: boolean): fc.Arbitrary<ConfTable> =>
  plain({
    pif: fc.integer({ min: 1, max: 255 }),
    name: arbName(127),
    capabilities: arbU32,
    rules: arbRules(targets)
  })
export const arbServerPart: fc.Arbitrary<ServerPart> = fc
  .constantFrom(1 as const, 2 as const)
  .chain((version) =>
    plain<ServerPart>({
      version: fc.constant(version),
      tables: fc.uniqueArray(arbTable(version === 2), {
        maxLength: 3,
        comparator: (a, b) => a.pif === b.pif || a.name === b.name
      })
    })
  )
