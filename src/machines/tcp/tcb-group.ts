// The block of a TCP connection is one flat object, which V8 reads and copies fast, and its fields fall into groups. A group's
// file has its type, what it starts with, and the functions that change it: types keep every other file from doing so.

declare const drafted: unique symbol
/** A block under construction: a copy that only the reducer which made it sees. There is no such field at run time. */
export interface Drafted {
  readonly [drafted]: true
}
/** What a group's file takes: its own fields, to be changed. All others are readonly to it, as these are to all others. */
export type Own<G> = Drafted & { -readonly [K in keyof G]: G[K] }
