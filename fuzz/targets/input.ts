/** The fuzzer's octets, taken from the front as what a target needs. Past the end everything is 0. */
export class Input {
  private at = 0
  constructor(private readonly data: Uint8Array) {}
  get done(): boolean {
    return this.at >= this.data.length
  }
  u8(): number {
    return this.data[this.at++] ?? 0
  }
  u16(): number {
    return (this.u8() << 8) | this.u8()
  }
  i32(): number {
    return (this.u16() << 16) | this.u16()
  }
  /** At most `n` octets. */
  octets(n: number): Uint8Array {
    const part = this.data.subarray(this.at, this.at + n)
    this.at += n
    return part
  }
  pick<A>(list: ReadonlyArray<A>): A {
    return list[this.u8() % list.length]
  }
}
