// node drive.cjs BUNDLE [argument of libFuzzer…]: the bundle's `fuzz(data)` under libFuzzer (driver.cc).
const { join } = require('node:path')

const [file, ...args] = process.argv.slice(2)
const { fuzz } = require(file)

/** Counters of each source file: statements and functions by number, and a list for each branch (istanbul). */
const lists = Object.values(globalThis.COVERAGE ?? {}).flatMap(({ s, f, b }) => [s, f, ...Object.values(b)])
const sizes = lists.map((list) => Object.keys(list).length)
const counters = new Uint8Array(sizes.reduce((a, b) => a + b, 0))

/** After each input: from istanbul's counters to libFuzzer's. */
const collect = () => {
  let at = 0
  for (let l = 0; l < lists.length; l++) {
    const list = lists[l]
    for (let i = 0; i < sizes[l]; i++, at++) {
      if (list[i] === 0) continue
      counters[at] = Math.min(255, list[i])
      list[i] = 0
    }
  }
}
const driver = require(join(__dirname, '../build/fuzz/driver.node'))
driver.run(args, counters, (data) => {
  fuzz(data)
  collect()
})
