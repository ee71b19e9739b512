import { ALPHABETS } from './alphabets/all.js'
import { type Imported, literal } from './literal.js'
import { begin, type Effect, type Event, leafOf, step, type World } from './world.js'

// Steps as a test file: what began, what happened, and what the machine said to it. The test holds plain xstate and the compiled
// table to that (property-tests/told.ts).

export interface Saved {
  readonly title: string
  readonly input: unknown
  readonly events: readonly Event[]
}
const FROM: Readonly<Record<Imported, string>> = {
  octets: 'src/codecs/value/octets.js',
  portSet: 'src/codecs/value/port-set.js'
}

const stepText = (text: (v: unknown) => string, event: Event, w: World): string =>
  `    { event: ${text(event)}, state: ${text(leafOf(w))}, effects: ${text(w.effects)} }`

/** One test for each of `list`, all of one machine. `toRoot`: from the file's folder to the tree: '..'. */
export const savedText = (name: string, toRoot: string, list: readonly Saved[]): string => {
  const alphabet = ALPHABETS[name]!
  const uses = new Set<Imported>()
  const text = (v: unknown): string => literal(v, (x) => uses.add(x))
  const tests = list.map(({ title, input, events }) => {
    let w = begin(alphabet, input)
    const first: readonly Effect[] = w.effects
    const steps = events.map((e) => {
      w = step(alphabet, w, e)
      return stepText(text, e, w)
    })
    const told = steps.length === 0 ? '[]' : `[\n${steps.join(',\n')}\n  ]`
    return `test(${text(`${name}: ${title}`)}, () =>\n  assertTold(${text(name)}, ${text(input)}, ${text(first)}, ${told}))\n`
  })
  return [
    `// Saved by 'npm run explore -- ${name}'.`,
    "import { test } from 'node:test'",
    ...[...uses].sort().map((x) => `import { ${x} } from '${toRoot}/${FROM[x]}'`),
    `import { assertTold } from '${toRoot}/property-tests/told.js'`,
    '',
    ...tests
  ].join('\n')
}
