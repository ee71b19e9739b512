import { createHash } from 'node:crypto'

// A page as one file: its own script and style are the only ones that run, and no text becomes markup later (Trusted Types).

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

export interface DocumentParts {
  readonly title: string
  /** For who runs no scripts. Title and this are markup. */
  readonly noscript: string
  readonly script: string
  readonly style: string
  /** base64: it can be no markup. The script finds it in the element 'data'. */
  readonly data: string
  /** May it ask where it comes from? Nothing else is fetched in any case. */
  readonly connects: boolean
}
export interface Document {
  readonly html: string
  /** Its Content-Security-Policy (CSP 3), which it has in itself too. */
  readonly policy: string
}
export const documentOf = ({ title, noscript, script, style, data, connects }: DocumentParts): Document => {
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    ...(connects ? ["connect-src 'self'"] : []),
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'"
  ].join('; ')
  const html = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
<noscript>${noscript}</noscript>
<script type="application/octet-stream" id="data">${data}</script>
<script>${script}</script>
</body>
</html>
`
  return { html, policy }
}
