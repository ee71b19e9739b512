// fragments.test.ts, with passt.
import './lib/passt-mode.js'
import './fragments.test.js'
