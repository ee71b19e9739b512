// tcp.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './tcp.test.js'
