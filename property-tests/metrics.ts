import assert from 'node:assert/strict'

/** OpenMetrics text, as far as it is used: families in one piece each, with their type; the end. */
export const readMetrics = (text: string): ReadonlyMap<string, number> => {
  const lines = text.split('\n')
  assert.deepEqual(lines.slice(-2), ['# EOF', ''])
  const samples = new Map<string, number>()
  let family = ''
  const seen = new Set<string>()
  for (const line of lines.slice(0, -2)) {
    const meta = /^# (TYPE|UNIT|HELP) ([a-z_]+) (.+)$/.exec(line)
    if (meta !== null) {
      const [, what, name = ''] = meta
      if (what === 'TYPE') {
        assert.ok(!seen.has(name), name)
        seen.add(name)
        family = name
      }
      assert.equal(name, family)
      continue
    }
    const sample = /^([a-z_]+)((?:\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})?) (\S+)$/.exec(line)
    assert.ok(sample !== null && sample[1]!.startsWith(family), line)
    assert.ok(!samples.has(sample[1]! + sample[2]!), line)
    samples.set(sample[1]! + sample[2]!, Number(sample[3]))
  }
  return samples
}
