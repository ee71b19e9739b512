// Imported before a test file of pasta's: the same tests then drive passt, whose guest is a namespace with a tap that
// tapbridge.cc carries over passt's socket (see passt.ts).
process.env.GUEST = 'passt'
