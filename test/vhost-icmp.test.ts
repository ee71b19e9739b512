// icmp.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './icmp.test.js'
