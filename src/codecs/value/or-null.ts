import * as t from 'io-ts'

/** What `of` is a codec for, or null. */
export const orNull = <C extends t.Mixed>(of: C) => t.union([of, t.null])
