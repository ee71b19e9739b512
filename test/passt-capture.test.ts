// capture.test.ts, with passt.
import './lib/passt-mode.js'
import './capture.test.js'
