// passt-vm.test.ts, with passt --vhost-user.
import './lib/vhost-mode.js'
import './passt-vm.test.js'
