import { randomBytes } from 'node:crypto'
import { reasonText } from '../log/error-text.js'
import { documentOf } from '../replay/document.js'
import { flowCharts } from './charts.js'
import { webServer } from './server.js'

const TOKEN_OCTETS = 16

export interface Serving {
  /** With a token in it: whoever has it may look. */
  readonly url: string
  /** Resolves at SIGINT and SIGTERM, rejects when the program that is shown has ended. */
  readonly ended: Promise<void>
}
/** `page`: what runs in the browser. */
export const serve = async (
  socketPath: string,
  port: number,
  { script, style }: { readonly script: string; readonly style: string }
): Promise<Serving> => {
  const page = documentOf({
    title: 'passt-ctl',
    noscript: 'This page draws what the program does by a script of its own, which is in the page.',
    script,
    style,
    data: Buffer.from(JSON.stringify(flowCharts())).toString('base64'),
    connects: true
  })
  const token = randomBytes(TOKEN_OCTETS).toString('hex')
  let over = (): void => {}
  const { url, close } = await webServer({ socketPath, port, token, page, over: () => over() }).catch(
    (e: Error) => Promise.reject(new Error(`no page at port ${port}: ${reasonText(e)}`))
  )
  const ended = new Promise<void>((resolve, reject) => {
    over = () => {
      close()
      reject(new Error(`${socketPath}: it has ended`))
    }
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => {
        close()
        resolve()
      })
  })
  return { url, ended }
}
