// Imported before a test file of pasta's: the same tests then drive passt --vhost-user, whose guest is a namespace with a tap
// that vhost-frontend.cc carries over virtqueues (see passt.ts).
import './passt-mode.js'

process.env.LINK ??= 'vhost-user'
