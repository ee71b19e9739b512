// wire.test.ts, with passt.
import './lib/passt-mode.js'
import './wire.test.js'
