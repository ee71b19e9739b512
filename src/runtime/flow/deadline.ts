/**
 * When something is due: ms on the loop's clock, infinity for never. Whoever has one may change it at any time. `wakes`: the loop
 * ends its wait for it; else it comes with the first turn behind it.
 */
export class Deadline {
  constructor(
    public at: number = Number.POSITIVE_INFINITY,
    public wakes: boolean = true
  ) {}
}

/** The earliest of those that wake the loop; infinity: none. Asked each turn. */
export const earliest = (list: ReadonlyArray<{ readonly deadline: Deadline }>): number => {
  let at = Number.POSITIVE_INFINITY
  for (let i = 0; i < list.length; i++) {
    const d = list[i].deadline
    if (d.wakes && d.at < at) at = d.at
  }
  return at
}
