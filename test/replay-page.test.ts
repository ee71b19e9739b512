// passt-replay --html in a browser: what the page shows, how it is driven, that nothing of a record becomes markup, and that it opens when large.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { act } from '../property-tests/record-arbitraries.js'
import { recordOf, START } from '../property-tests/recorded.js'
import { EV } from '../src/runtime/abi/abi.js'
import { Browser, count, drawn, filter, inTheDark, nameless, type Tab, text, texts } from './lib/browser.js'
import { replay } from './lib/replay.js'

const dir = mkdtempSync(join(tmpdir(), 'replay-page-'))
let browser: Browser
before(() => {
  browser = new Browser()
})
after(async () => {
  await browser.end()
  rmSync(dir, { recursive: true, force: true })
})

const HOSTILE = '</script><img src=x onerror="document.title=1"><b>bold</b>&lt;'
/** A page of this record. */
const pageOf = (name: string, record: Uint8Array): string => {
  const [from, to] = [join(dir, `${name}.rec`), join(dir, `${name}.html`)]
  writeFileSync(from, record)
  const r = replay('--html', to, from)
  assert.equal(r.status, 0, r.out + r.err)
  return to
}
const frame = { words: [EV.TAP_FRAME, 0, 0, 0, 0, 0, 0, 0], octets: new Uint8Array(60).fill(1) }
const small = (): string =>
  pageOf(
    'small',
    recordOf((r) => act(r, [{ came: [frame], after: 1, listener: null }], 1), {
      start: { ...START, host: HOSTILE }
    })
  )

const assertQuiet = (tab: Tab): void => {
  assert.deepEqual(tab.trouble, [])
  assert.deepEqual(tab.fetched, [])
}

describe('a page', () => {
  let tab: Tab
  before(async () => {
    tab = await browser.open(small())
  })
  test('opens with the first flow, where it begins', async () => {
    assert.deepEqual([...(await texts(tab, '.flow b'))].sort(), [
      'No flow',
      'TCP connection (spliced) 0',
      'TCP connection 0',
      'TCP connection 1',
      'TCP connection 1',
      'UDP flow 1',
      'ndp'
    ])
    assert.equal(await text(tab, '.flow.current b'), 'TCP connection 0')
    assert.equal(await text(tab, '#state'), 'not begun')
    assert.match(await text(tab, '.rung.current'), /from the guest: \[S\] seq 0 win 500/)
    assertQuiet(tab)
  })
  test('keys move through time: state, transition, clause and effects are those of the moment', async () => {
    const states: string[] = []
    for (let i = 0; i < 6; i++) {
      await tab.press('ArrowRight', true)
      const state = await text(tab, '#state')
      states.push(state)
      assert.equal(await count(tab, 'svg .lit'), 1)
      assert.equal(
        await tab.value("document.querySelector('svg .lit').dataset.state.toUpperCase()"),
        state.replaceAll('_', '')
      )
      if (state === 'CONNECTING') continue
      assert.match(await text(tab, '#clause'), /RFC 9293 §3\.\d/)
      assert.equal(await count(tab, 'svg .way.taken'), 1, `the way to ${state} is lit`)
      assert.match(await text(tab, '.details dd'), new RegExp(` → (?:${state}|OPEN)$`))
    }
    assert.deepEqual(states, ['CONNECTING', 'SYN_RCVD', 'ESTABLISHED', 'CLOSE_WAIT', 'LAST_ACK', 'CLOSED'])
    assert.match(await text(tab, '#effects'), /CloseSock/)
    await tab.press('Home')
    assert.equal(await text(tab, '#state'), 'not begun')
    for (let i = 0; i < 4; i++) await tab.press('ArrowRight')
    assert.match(await text(tab, '#where'), /^5 of \d+, 0\.250 ms$/)
    assert.match(
      await text(tab, '#effects'),
      /^SegmentToTap seq \d+ ack \d+ \[S\.\] wnd 65535 mss 65480 windowScale 8/
    )
    await tab.press('ArrowLeft')
    assert.match(await text(tab, '#where'), /^4 of /)
    // The slider does the same
    await tab.value(
      "{ const s = document.getElementById('slider'); s.value = s.max; s.dispatchEvent(new Event('input')) }"
    )
    assert.equal(await text(tab, '#state'), 'CLOSED')
    assertQuiet(tab)
  })
  test('numbers are those of the moment, and drawn over time', async () => {
    await tab.press('End')
    const rows = await texts(tab, '.numbers [role=row]')
    const number = (name: string): number =>
      Number(
        rows
          .filter((r) => r.startsWith(name))
          .at(-1)
          ?.slice(name.length)
      )
    assert.equal(number('SND.UNA'), number('SND.NXT'))
    assert.equal(number('IRS'), 4_294_967_280)
    const legend = await texts(tab, '.key')
    const taken = (number('RCV.NXT') - number('IRS')) >>> 0
    assert.ok(taken > 1000 && legend.includes(`RCV.NXT${taken}`), `${taken}: ${legend}`)
    const figures = await texts(tab, 'figcaption b')
    assert.deepEqual(figures, ['To the guest', 'From the guest', 'Windows and flight', 'Round trips'])
    for (const n of figures.keys()) assert.ok((await drawn(tab, n)) > 300, figures[n])
    // A place in a plot is a moment
    await tab.value(
      "document.querySelector('canvas').dispatchEvent(new PointerEvent('pointerdown', { clientX: 0, buttons: 1 }))"
    )
    assert.match(await text(tab, '#where'), /^1 of /)
    assertQuiet(tab)
  })
  test('flows are filtered, sorted and chosen', async () => {
    await filter(tab, 'udp stream')
    assert.deepEqual(await texts(tab, '.flow b'), ['UDP flow 1'])
    await tab.value("document.querySelector('.flow').click()")
    assert.equal(await text(tab, '.chart h2'), 'udp not begun')
    assert.deepEqual(await texts(tab, 'figcaption b'), ['Went by'])
    assert.ok((await drawn(tab, 0)) > 300, 'a plot')
    await filter(tab, '')
    await tab.value("document.querySelector('[data-sort=rows]').click()")
    await tab.value("document.querySelector('[data-sort=rows]').click()")
    const rows = (await texts(tab, '.flow .count')).map((t) => Number.parseInt(t, 10))
    assert.deepEqual(
      rows,
      [...rows].sort((a, b) => b - a)
    )
    assertQuiet(tab)
  })
  test('a drop is where the frame came that was dropped', async () => {
    await tab.value(
      "[...document.querySelectorAll('.flow')].find((e) => e.textContent.startsWith('No flow')).click()"
    )
    await tab.press('End')
    assert.match(await text(tab, '.count-row .pill'), /^drop-/)
    assertQuiet(tab)
  })
  test('what a record says is text', async () => {
    assert.ok((await text(tab, 'header')).includes(HOSTILE), 'as it is')
    assert.deepEqual(await tab.value('[document.title, document.images.length, document.scripts.length]'), [
      'passt-replay',
      0,
      1
    ])
    assert.equal(await count(tab, 'header b'), 0)
    // The page's policy holds even for who would try
    const tried = await tab.value<string>(
      "(() => { try { document.body.innerHTML = '<b>' } catch (e) { return e.name } })()"
    )
    assert.equal(tried, 'TypeError')
    const fetched = await tab.value<string>(
      "fetch('file:///etc/hostname').then(() => 'fetched', (e) => e.name)"
    )
    assert.equal(fetched, 'TypeError')
  })
  test('in the dark, and on a small screen', async () => {
    await inTheDark(tab)
  })
})

test('every part of a page has a name, and what can be done is done by keys', async () => {
  const tab = await browser.open(join(dir, 'small.html'), '#flow=1&row=40')
  assert.deepEqual(await nameless(tab, 'button, input, [role=listbox], [role=img], section, [tabindex]'), [])
  assert.match(await text(tab, '.rung[aria-selected=true]'), /\S/)
  await tab.press('/')
  assert.equal(await tab.value('document.activeElement.id'), 'filter')
  await tab.value("document.getElementById('flows').focus()")
  const flow = await text(tab, '.flow.current')
  await tab.press('ArrowDown')
  assert.notEqual(await text(tab, '.flow.current'), flow)
  assertQuiet(tab)
})

test('100,000 events', async () => {
  const file = pageOf(
    'large',
    recordOf((r) => act(r, [], 556))
  )
  const { size } = statSync(file)
  assert.ok(size < 6_000_000, `${size} octets`)
  const tab = await browser.open(file)
  assert.match(await text(tab, 'header'), /1\d{5} events/)
  const total = await tab.value<number>('document.querySelectorAll("*").length')
  assert.ok(total < 3000, `${total} elements`)
  // A flow of many rows, to its end
  await tab.value("document.querySelector('[data-sort=rows]').click()")
  await tab.value("document.querySelector('[data-sort=rows]').click()")
  await tab.value("document.querySelector('.flow').click()")
  await tab.press('End')
  const [, row, of] = /^(\d+) of (\d+),/.exec(await text(tab, '#where')) ?? []
  assert.equal(row, of)
  assert.ok(Number(of) > 1000, of)
  assert.equal(await count(tab, '.rung.current'), 1)
  assert.ok((await drawn(tab, 0)) > 300, 'a plot')
  assertQuiet(tab)
})
