// api.test.ts, with passt.
import './lib/passt-mode.js'
import './api.test.js'
