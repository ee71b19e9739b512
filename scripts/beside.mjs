// Work that needs a processor and nothing else, beside tests that wait for kernels and timers most of the time: it has
// what those leave. See `test` in run.mjs.
import { spawn } from 'node:child_process'
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
  const statuses = `${log}.statuses`
  // A session of its own, since the kernel weighs sessions against each other (autogroup) before it looks at nice values.
  const child = spawn(process.execPath, [SELF, JSON.stringify(steps), statuses], {
    cwd: dirname(dirname(SELF)),
    detached: true,
    stdio: ['ignore', out, out]
  })
  closeSync(out)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) =>
      code === 0
        ? resolve(JSON.parse(readFileSync(statuses, 'utf8')))
        : reject(new Error(`what ran beside ended with ${signal ?? code}:\n${readFileSync(log, 'utf8')}`))
    )
  })
}

const main = async (steps, to) => {
  setPriority(NICE)
  try {
    writeFileSync('/proc/self/autogroup', `${NICE}`)
  } catch {
    // a kernel without, where the nice value alone does it
  }
  // Whatever ends the parent, the keyboard included, ends this session's processes.
  const parent = process.ppid
  setInterval(() => {
    if (process.ppid !== parent) process.kill(0, 'SIGKILL')
  }, 1000).unref()
  const statuses = []
  for (const { command, argv, env } of steps)
    statuses.push(
      await new Promise((resolve) => {
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
    )
  writeFileSync(to, JSON.stringify(statuses))
}

if (process.argv[1] === SELF) await main(JSON.parse(process.argv[2]), process.argv[3])
