// Whose environment is whose: the command has the caller's, octet for octet; nothing of it changes the engine.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cacheInside, compiled } from './lib/cache.js'
import { passt } from './lib/passt.js'
import { childrenOf, cmdlineOf, parents, statusField, until } from './lib/proc.js'
import { asShipped, isPeer, ok, pasta, quietPorts, World } from './lib/world.js'

asShipped()

const oursOnly = { skip: isPeer && 'upstream has no engine apart' }
const stowaway = `${cacheInside}/stowaway`
let w: World
before(async () => {
  w = await World.open()
  compiled('test/lib/stowaway.cc', ['-shared', '-fPIC'])
  writeFileSync(
    join(w.dir, 'openssl.cnf'),
    `nodejs_conf = init\nopenssl_conf = init\n[init]\nproviders = all\n[all]\nstowaway = it\n[it]\nmodule = ${stowaway}\nactivate = 1\n`
  )
  // What bundled programs bring along: a C++ runtime, and other libraries, that are not this system's
  await w.sh(`mkdir /mnt/w/bad
    for f in libstdc++.so.6 libgcc_s.so.1 libm.so.6 libdl.so.2 libpthread.so.0; do echo none > /mnt/w/bad/$f; done`)
})
after(() => w?.close())

const isEngine = (pid: number): boolean => /engine\.cjs/.test(cmdlineOf(pid))
const environmentOf = (pid: number): ReadonlyArray<string> =>
  readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').slice(0, -1)
/** Command lines of the programs that loaded the library. */
const loadedInto = (): string => {
  const file = join(w.dir, 'stowaway')
  return existsSync(file) ? readFileSync(file, 'latin1') : ''
}
/** Engine and launcher of what `argv` starts with these variables beside the usual ones, once it serves. */
const serving = async (
  variables: ReadonlyArray<string>,
  argv: ReadonlyArray<string>,
  use: (engine: number, launcher: number) => Promise<void> | void
): Promise<void> => {
  rmSync(join(w.dir, 'stowaway'), { force: true })
  const proc = w.start(['env', ...variables, ...argv])
  try {
    const engine = await until('the engine', () => {
      if (!proc.running) throw new Error(`ended: ${proc.stderr}`)
      return w.pidsInside().find((pid) => isEngine(pid) && statusField(pid, 'Seccomp') === '2')
    })
    await use(engine, parents().get(engine)!)
  } finally {
    await proc.stop()
    await until('the end', () => !w.pidsInside().some(isEngine))
  }
}

const hostile: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
  ["OpenSSL's configuration", ['OPENSSL_CONF=/mnt/w/openssl.cnf', 'SSL_CERT_FILE=/mnt/w/none']],
  ['a library to be loaded first', [`LD_PRELOAD=${stowaway}`]],
  ['another C++ runtime', ['LD_LIBRARY_PATH=/mnt/w/bad']],
  ['io_uring', ['UV_USE_IO_URING=1']],
  [
    'options for Node',
    [
      'NODE_OPTIONS=--require /mnt/w/none.js',
      'NODE_PATH=/mnt/w',
      'NODE_ICU_DATA=/mnt/w',
      'NODE_V8_COVERAGE=/mnt/w'
    ]
  ],
  [
    'options for the C library',
    ['GLIBC_TUNABLES=glibc.malloc.perturb=85', 'MALLOC_ARENA_MAX=1', 'LOCPATH=/mnt/w', 'TZ=:/mnt/w/none']
  ]
]
const ENGINES = ['OPENSSL_CONF=/dev/null', 'UV_USE_IO_URING=0']
/** All but PATH. */
const rest = (variables: ReadonlyArray<string>): ReadonlyArray<string> =>
  variables.filter((v) => !v.startsWith('PATH=')).sort()

describe('the environment of a caller', oursOnly, () => {
  for (const [what, variables] of hostile)
    test(`${what}: nothing of it is the engine's, all of it the command's`, () =>
      serving(
        variables,
        [pasta, ...quietPorts, '--config-net', '--', 'sleep', '1000'],
        async (engine, launcher) => {
          assert.deepEqual(rest(environmentOf(engine)), ENGINES)
          assert.doesNotMatch(loadedInto(), /engine\.cjs/)
          const command = await until('the command', () =>
            childrenOf(launcher).find((pid) => cmdlineOf(pid) === 'sleep 1000')
          )
          for (const v of variables) assert.ok(environmentOf(command).includes(v), v)
          assert.deepEqual(
            readFileSync(`/proc/${command}/environ`),
            readFileSync(`/proc/${launcher}/environ`)
          )
        }
      ))
  test('octets that are no text reach the command as they are', async () => {
    const script = `exec env -i "$(printf 'A=\\377\\001\\n ')" B= PATH="$PATH" '${pasta}' ${quietPorts.join(' ')} -- od -An -c /proc/self/environ`
    const r = ok(await w.run(['sh', '-ec', script]))
    assert.match(r.stdout.replaceAll(/\s+/g, ' '), /^ A = 377 001 \\n \\0 B = \\0 P A T H = /)
  })
  for (const name of ['pasta', 'passt'])
    test(`${name} with a file capability: no library into an engine that holds it`, async () => {
      await w.sh(`mkdir -p /run/inst/bin; ln -sfn /mnt/repo/dist /run/inst/dist; ln -sfn /mnt/repo/build /run/inst/build
        cp ${name === 'pasta' ? pasta : passt} /run/inst/bin/${name}; setcap cap_net_bind_service=+ep /run/inst/bin/${name}`)
      const program = `/run/inst/bin/${name}`
      const argv =
        name === 'pasta'
          ? [program, ...quietPorts, '--', 'sleep', '1000']
          : [program, '-f', '-s', '/mnt/w/environment.socket']
      for (const [, variables] of hostile)
        await serving(variables, argv, (engine) => {
          assert.deepEqual(rest(environmentOf(engine)), ENGINES)
          assert.equal(
            loadedInto()
              .split('\n')
              .filter((l) => /run\/inst|engine\.cjs/.test(l))
              .join(),
            ''
          )
        })
    })
})
