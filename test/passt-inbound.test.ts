// inbound.test.ts, with passt.
import './lib/passt-mode.js'
import './inbound.test.js'
