// record.test.ts, with passt.
import './lib/passt-mode.js'
import './record.test.js'
