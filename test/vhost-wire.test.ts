// wire.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './wire.test.js'
