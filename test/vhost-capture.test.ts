// capture.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './capture.test.js'
