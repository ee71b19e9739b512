// hostile.test.ts, with passt.
import './lib/passt-mode.js'
import './hostile.test.js'
