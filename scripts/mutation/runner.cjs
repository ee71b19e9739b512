// node:test by mocha's functions.
const { describe, it, before, after } = globalThis
module.exports = { describe, test: it, before, after }
