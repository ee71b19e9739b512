import type { Octets } from '../../codecs/value/octets.js'
import type { DifferenceReport } from './report.js'

export const shrunk = (
  _file: Octets,
  _d: DifferenceReport
): { readonly file: Uint8Array; readonly turns: number; readonly events: number } => {
  throw new Error('not yet')
}
