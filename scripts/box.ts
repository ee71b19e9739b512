// By hand: node --import tsx scripts/box.ts [-r] PACKAGE... < SCRIPT
// runs shell lines in a newer Debian that has the packages, on the host of a test world with our pasta and passt first in
// PATH, as an ordinary user or, with -r, as root. peer.py listens in the world (198.51.100.3) and on the host's loopback.
// DRIVERS_SUITE chooses the suite. docs/drivers.md was made with it.
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Box } from '../test/lib/box.js'
import { helper, net, pasta } from '../test/lib/world.js'

const args = process.argv.slice(2)
const uid = args[0] === '-r' ? 0 : 1000
const run = async (): Promise<number> => {
  const box = await Box.open({ packages: args.filter((a) => a !== '-r') })
  try {
    const serve = (where: 'world' | 'host', ...addresses: string[]) =>
      box.w
        .start(['python3', helper('peer.py'), ...addresses], { in: where, uid: 0, timeout: 900_000 })
        .sees(/ready/)
    await serve('world', net.world4, net.world6)
    await serve('host', '127.0.0.1', '::1')
    const path = `${dirname(pasta)}:/usr/sbin:/usr/bin:/sbin:/bin`
    const script = readFileSync(0, 'utf8')
    const r = await box.run(['bash', '-c', script], { uid, timeout: 600_000, env: { PATH: path } })
    process.stdout.write(r.stdout)
    process.stderr.write(r.stderr)
    return r.code ?? 128
  } finally {
    await box.close()
  }
}
run().then((code) => process.exit(code))
