// udp.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './udp.test.js'
