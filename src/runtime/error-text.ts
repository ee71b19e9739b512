import { getSystemErrorMap } from 'node:util'

/** What an errno(3) means, as `ENETUNREACH, network is unreachable`. */
export const errorText = (errno: number): string => {
  const known = getSystemErrorMap().get(-errno)
  return known === undefined ? `error ${errno}` : `${known[0]}, ${known[1]}`
}
