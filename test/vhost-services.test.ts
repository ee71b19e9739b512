// services.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './services.test.js'
