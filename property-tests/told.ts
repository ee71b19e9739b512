import assert from 'node:assert/strict'
import type { AnyStateMachine } from 'xstate'
import { ALPHABETS } from '../src/explore/alphabets/all.js'
import { begin, type Event, isOver, leafOf, step } from '../src/explore/world.js'
import { compile } from '../src/runtime/machine/compile.js'

// What a saved session tells (src/explore/saved.ts), held against plain xstate and the compiled table.

export interface Told {
  readonly event: unknown
  /** After it. */
  readonly state: string
  readonly effects: readonly unknown[]
}

/** `effects`: of the beginning. Throws at the first difference. */
export const assertTold = (
  name: string,
  input: unknown,
  effects: readonly unknown[],
  told: readonly Told[]
): void => {
  const alphabet = ALPHABETS[name]
  assert(alphabet, `no machine '${name}'`)
  const compiled = compile<AnyStateMachine, unknown>(alphabet.machine)
  const out: unknown[] = []
  let theirs = begin(alphabet, input)
  let ours = compiled.start(input as never, out)
  assert.deepEqual(theirs.effects, effects, 'xstate, at the beginning')
  assert.deepEqual(out, effects, 'compiled, at the beginning')
  for (const [i, t] of told.entries()) {
    const where = `step ${i + 1}, ${(t.event as Event).type}`
    assert(!isOver(theirs), `${where}: it is over`)
    out.length = 0
    theirs = step(alphabet, theirs, t.event as Event)
    ours = compiled.step(ours, t.event as never, out)
    assert.equal(leafOf(theirs), t.state, `xstate, ${where}`)
    assert.equal(compiled.value(ours), t.state, `compiled, ${where}`)
    assert.deepEqual(theirs.effects, t.effects, `xstate, ${where}`)
    assert.deepEqual(out, t.effects, `compiled, ${where}`)
  }
}
