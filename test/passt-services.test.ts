// services.test.ts, with passt.
import './lib/passt-mode.js'
import './services.test.js'
