// icmp.test.ts, with passt.
import './lib/passt-mode.js'
import './icmp.test.js'
