/** A virtual clock: things happen in order of time, and of arrangement where times are equal. */
export class Clock {
  /** ms */
  now = 1000
  private readonly due: { readonly at: number; readonly run: () => void }[] = []
  readonly trace: string[] = []

  /** `run` is called once, `ms` from now. */
  after(ms: number, run: () => void): void {
    const at = this.now + Math.max(0, ms)
    let i = this.due.length
    while (i > 0 && this.due[i - 1].at > at) i--
    this.due.splice(i, 0, { at, run })
  }

  /** The next thing; false: nothing is left. */
  step(): boolean {
    const next = this.due.shift()
    if (next === undefined) return false
    this.now = next.at
    next.run()
    return true
  }

  log(text: string): void {
    this.trace.push(`${(this.now - 1000).toFixed(2).padStart(10)} ${text}`)
  }
}

/** A broken promise of the machine under test. */
export class Violation extends Error {}
export const promise = (kept: boolean, what: string): void => {
  if (!kept) throw new Violation(what)
}

/** Values of a finite list one after the other, then the last word for ever. */
export const script = <A>(list: readonly A[], then: A): (() => A) => {
  let i = 0
  return () => (i < list.length ? list[i++] : then)
}
