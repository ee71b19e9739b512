import { getSystemErrorMap } from 'node:util'

/**
 * What went wrong, as a program tells it apart. `usage`: the command line is no such; `configuration`: it makes no sense here; `system`: the
 * kernel, or the launcher, said no; `internal`: a fault of ours.
 */
export type FailureKind = 'usage' | 'configuration' | 'system' | 'internal'

/** The end of the program. `errno` 0: none applies. `message`: without the program's name, one line. */
export interface Failure {
  readonly kind: FailureKind
  readonly errno: number
  readonly message: string
}

/** Exit statuses (passt(1), Exit status): it did not start; it had started, and ended by a fault. */
export const NOT_STARTED = 1
export const FAULT = 2

/** A line of JSON for --error-fd; native/launcher/util.cc writes the same for what fails without an engine. */
export const reportLine = (program: string, { kind, errno, message }: Failure, status: number): string =>
  `${JSON.stringify({ program, kind, errno: getSystemErrorMap().get(-errno)?.[0] ?? null, message, status })}\n`
