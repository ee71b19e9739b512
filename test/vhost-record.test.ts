// record.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './record.test.js'
