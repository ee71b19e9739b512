// passt-vm.test.ts, with guests that share their memory.
import './lib/vhost-mode.js'
import './passt-vm.test.js'
