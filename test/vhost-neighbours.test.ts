// neighbours.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './neighbours.test.js'
