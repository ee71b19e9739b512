// fragments.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './fragments.test.js'
