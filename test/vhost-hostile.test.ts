// hostile.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './hostile.test.js'
