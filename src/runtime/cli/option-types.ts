import type { Setting } from '../../codecs/text/argv.js'

export type Mode = 'passt' | 'pasta'
export type VhostFeatures = 'all' | 'upstream'

/** One value for each IP version. */
export interface Pair<A> {
  readonly v4: A
  readonly v6: A
}

/** Which namespace, as the arguments behind the options say. */
export type Target =
  | { readonly kind: 'shell' }
  | { readonly kind: 'command'; readonly argv: ReadonlyArray<string> }
  | { readonly kind: 'pid'; readonly pid: number }
  | { readonly kind: 'netns'; readonly path: string }

/** Of the command line what no option says by itself. */
export interface Line {
  readonly mode: Mode
  /** What the options were made from, in order. */
  readonly settings: ReadonlyArray<Setting>
  readonly positionals: ReadonlyArray<string>
  /** Index in argv of the first positional; argv.length without. */
  readonly positionalsAt: number
  /** Of no meaning for passt. */
  readonly target: Target
  /** To be shown once, at level warning. */
  readonly warnings: ReadonlyArray<string>
}
