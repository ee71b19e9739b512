// udp.test.ts, with passt.
import './lib/passt-mode.js'
import './udp.test.js'
