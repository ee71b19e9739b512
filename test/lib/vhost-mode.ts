// Imported before a test file of passt's with virtual machines: they share their memory with it (vm.ts, overSocket).
process.env.LINK = 'vhost-user'
