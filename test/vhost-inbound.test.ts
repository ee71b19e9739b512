// inbound.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './inbound.test.js'
