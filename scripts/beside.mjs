// Work that needs a processor and nothing else, beside tests that wait for kernels and timers most of the time: it has
// what those leave. See `test` in run.mjs.
import { fork, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const SELF = fileURLToPath(import.meta.url)

/** A tenth of the weight of what runs beside it (sched(7)): enough not to be starved. */
const NICE = 10

/**
 * Starts steps ({ command, argv, and what differs in env }), one after the other; their output goes to the file `log`.
 * Returns a promise of their statuses.
 */
export const beside = (steps, log) => {
  const out = openSync(log, 'w')
  // A session of its own, since the kernel weighs sessions against each other (autogroup) before it looks at nice values.
  const child = fork(SELF, {
    cwd: dirname(dirname(SELF)),
    detached: true,
    stdio: ['ignore', out, out, 'ipc']
  })
  closeSync(out)
  child.send(steps)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('message', resolve)
    child.on('exit', (code, signal) =>
      reject(new Error(`what ran beside ended with ${signal ?? code}:\n${readFileSync(log, 'utf8')}`))
    )
  })
}

/** Its status; 128: it was ended by a signal, or never began. */
const statusOf = ({ command, argv, env }) =>
  new Promise((resolve) => {
    const child = spawn(command, argv, {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...env }
    })
    child.on('error', (e) => {
      console.error(`${command}: ${e.message}`)
      resolve(128)
    })
    child.on('exit', (code) => resolve(code ?? 128))
  })

const main = async (steps) => {
  setPriority(NICE)
  try {
    writeFileSync('/proc/self/autogroup', `${NICE}`)
  } catch {
    // a kernel without, where the nice value alone does it
  }
  const statuses = []
  for (const step of steps) statuses.push(await statusOf(step))
  process.send(statuses, () => process.exit())
}

if (process.argv[1] === SELF) {
  // Whatever ends the parent, the keyboard included, ends this session's processes.
  process.once('disconnect', () => process.kill(0, 'SIGKILL'))
  process.once('message', main)
}
