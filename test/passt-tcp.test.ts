// tcp.test.ts, with passt.
import './lib/passt-mode.js'
import './tcp.test.js'
