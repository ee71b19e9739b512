import type { Rule } from '../../machines/forward/forward-rules.js'

/** Who hears what is sent to a port, and by which rule. */
export interface Listener {
  readonly rule: Rule
  readonly port: number
}
/** By native id. */
export type Listeners = Map<number, Listener>
