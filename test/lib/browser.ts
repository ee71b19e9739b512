import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

// A headless Chromium without any network (a namespace of its own), or with that of a world, driven by the DevTools Protocol over a pipe.

type Reply = {
  readonly id?: number
  readonly method?: string
  readonly params?: unknown
  /** Of the tab that it is about. */
  readonly sessionId?: string
  readonly error?: unknown
}
type Sent = { readonly result: unknown; readonly error?: { readonly message: string } }

/** As a user has it set. */
export interface Taste {
  readonly dark?: boolean
  readonly width?: number
  readonly height?: number
}
export interface Tab {
  /** The value of an expression, which may be a promise. Throws what it throws. */
  readonly value: <A>(expression: string) => Promise<A>
  /** As if typed: 'ArrowRight', 'a'. */
  readonly press: (key: string, shift?: boolean) => Promise<void>
  readonly screenshot: () => Promise<Buffer>
  readonly taste: (t: Taste) => Promise<void>
  /** What the console was told as an error, exceptions that nobody caught, breaches of the page's policy. */
  readonly trouble: ReadonlyArray<string>
  /** What it asked the network for, besides its own file. */
  readonly fetched: ReadonlyArray<string>
}
const DEADLINE = 60_000
const SHIFT = 8

export class Browser {
  private readonly dir = mkdtempSync(join(tmpdir(), 'browser-'))
  private readonly process: ChildProcess
  private readonly waiting = new Map<number, (r: Sent) => void>()
  private readonly listeners: ((method: string, params: unknown, session: string | undefined) => void)[] = []
  private sent = 0

  /** `where`: argv in front of its own, which says what network it has. */
  constructor(where: ReadonlyArray<string> = ['unshare', '-n']) {
    const options = [
      ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run'],
      ['--remote-debugging-pipe', `--user-data-dir=${this.dir}`, 'about:blank']
    ].flat()
    const [program = '', ...argv] = [...where, 'chromium-headless-shell', ...options]
    this.process = spawn(program, argv, {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      env: { ...process.env, HOME: this.dir }
    })
    let rest = ''
    const out = this.process.stdio[4] as Readable
    out.setEncoding('utf8')
    out.on('data', (text: string) => {
      const messages = (rest + text).split('\0')
      rest = messages.pop() ?? ''
      for (const m of messages) this.heard(JSON.parse(m) as Reply & Sent)
    })
  }
  private heard(m: Reply & Sent): void {
    if (m.id === undefined) for (const l of this.listeners) l(m.method ?? '', m.params, m.sessionId)
    else this.waiting.get(m.id)?.(m)
  }
  private async send(method: string, params: object, sessionId?: string): Promise<unknown> {
    const id = ++this.sent
    const message = JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })
    const reply = await new Promise<Sent>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no answer to ${method}`)), DEADLINE)
      this.waiting.set(id, (r) => {
        clearTimeout(late)
        resolve(r)
      })
      ;(this.process.stdio[3] as Writable).write(`${message}\0`)
    })
    this.waiting.delete(id)
    if (reply.error !== undefined) throw new Error(`${method}: ${reply.error.message}`)
    return reply.result
  }

  /** A file, or what is at an http URL. */
  async open(file: string, hash = '', t: Taste = {}): Promise<Tab> {
    const url = file.startsWith('http:') ? file : `file://${file}`
    const { targetId } = (await this.send('Target.createTarget', { url: 'about:blank' })) as {
      targetId: string
    }
    const { sessionId } = (await this.send('Target.attachToTarget', { targetId, flatten: true })) as {
      sessionId: string
    }
    const send = (method: string, params: object = {}): Promise<unknown> =>
      this.send(method, params, sessionId)
    const trouble: string[] = []
    const fetched: string[] = []
    this.listeners.push((method, params, session) => {
      if (session !== sessionId) return
      const p = params as {
        readonly type?: string
        readonly args?: unknown
        readonly entry?: { readonly level: string; readonly text: string }
        readonly exceptionDetails?: unknown
        readonly request?: { readonly url: string }
      }
      if (method === 'Runtime.exceptionThrown') trouble.push(JSON.stringify(p.exceptionDetails))
      if (method === 'Log.entryAdded' && p.entry?.level === 'error') trouble.push(p.entry.text)
      if (method === 'Runtime.consoleAPICalled' && p.type === 'error') trouble.push(JSON.stringify(p.args))
      if (method === 'Network.requestWillBeSent' && p.request?.url !== url) fetched.push(p.request?.url ?? '')
    })
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`)
    const taste = async ({ dark = false, width = 1440, height = 900 }: Taste): Promise<void> => {
      await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false })
      const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
      await send('Emulation.setEmulatedMedia', { features })
    }
    const value = async <A>(expression: string): Promise<A> => {
      const r = (await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })) as {
        readonly result: { readonly value: A }
        readonly exceptionDetails?: unknown
      }
      assert.equal(r.exceptionDetails, undefined, JSON.stringify(r.exceptionDetails))
      return r.result.value
    }
    await taste(t)
    await send('Page.navigate', { url: `${url}${hash}` })
    const until = Date.now() + DEADLINE
    while ((await value<string>('document.body?.dataset.ready ?? ""')) === '') {
      assert.ok(Date.now() < until && trouble.length === 0, `it did not open: ${trouble.join('; ')}`)
      await new Promise((done) => setTimeout(done, 20))
    }
    return {
      value,
      taste,
      trouble,
      fetched,
      press: async (key, shift = false) => {
        const modifiers = shift ? SHIFT : 0
        for (const type of ['keyDown', 'keyUp'])
          await send('Input.dispatchKeyEvent', { type, key, modifiers })
        // What is drawn is up to date a frame later
        await value('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')
      },
      screenshot: async () => {
        const { data } = (await send('Page.captureScreenshot', { format: 'png' })) as { data: string }
        return Buffer.from(data, 'base64')
      }
    }
  }

  async end(): Promise<void> {
    const gone = new Promise((done) => this.process.once('exit', done))
    await this.send('Browser.close', {}).catch(() => this.process.kill('SIGKILL'))
    await gone
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Of the first element, '' if there is none; of all; how many they are. */
export const text = (tab: Tab, selector: string): Promise<string> =>
  tab.value(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`)
export const texts = (tab: Tab, selector: string): Promise<ReadonlyArray<string>> =>
  tab.value(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((e) => e.textContent)`)
export const count = (tab: Tab, selector: string): Promise<number> =>
  tab.value(`document.querySelectorAll(${JSON.stringify(selector)}).length`)
/** How many pixels of a canvas, the n-th, something is drawn on. */
export const drawn = (tab: Tab, n: number): Promise<number> =>
  tab.value(`(() => {
    const c = document.querySelectorAll('canvas')[${n}]
    const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height)
    return data.filter((v, i) => i % 4 === 3 && v > 0).length
  })()`)
/** Puts these words into the page's filter. */
export const filter = (tab: Tab, words: string): Promise<void> =>
  tab.value(
    `{ const f = document.getElementById('filter'); f.value = '${words}'; f.dispatchEvent(new Event('input')) }`
  )
/** Parts that nobody who hears the page would know what they are: of those selected, without a name. */
export const nameless = (tab: Tab, selector: string): Promise<ReadonlyArray<string>> =>
  tab.value(`[...document.querySelectorAll(${JSON.stringify(selector)})]
    .filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
    .map((e) => e.outerHTML)`)

/** In the dark it has another background, and a narrow window does not make it wider than that. */
export const inTheDark = async (tab: Tab): Promise<void> => {
  const back = (): Promise<string> => tab.value('getComputedStyle(document.body).backgroundColor')
  const light = await back()
  await tab.taste({ dark: true, width: 800, height: 900 })
  assert.notEqual(await back(), light)
  const wide = await tab.value<number>('document.documentElement.scrollWidth')
  assert.ok(wide <= 800, `${wide}`)
}
