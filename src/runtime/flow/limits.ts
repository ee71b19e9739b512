import type { PortRange } from '../../codecs/text/port-spec.js'
import { MAX_FLOWS } from './flow-table.js'
import type { Limits } from './quotas.js'

// Where no option says otherwise, a guest leaves half of what there is to others.

/** What the host has. */
export interface HostHas {
  /** RLIMIT_NOFILE of this process. */
  readonly files: number
  /** sysctl fs.file-max: of all processes together. */
  readonly fileMax: number
  /** Octets at which Linux begins to be sparing with TCP's buffers (sysctl net.ipv4.tcp_mem, the second one). */
  readonly tcpMemory: number
  /** sysctl net.ipv4.ip_local_port_range */
  readonly ephemeral: PortRange
}

/** Twice what Linux itself lets wait in front of one listener (sysctl net.ipv4.tcp_max_syn_backlog, 4096 as a rule). */
export const HALF_OPEN = 8192

/** An option's value, else: every flow of the table; descriptors as allowed, but half of the system's; half of memory and ports. */
export const limitsOf = (has: HostHas, asked: Partial<Limits>): Limits => ({
  flows: asked.flows ?? MAX_FLOWS,
  files: asked.files ?? Math.max(1, Math.min(has.files, Math.floor(has.fileMax / 2))),
  memory: asked.memory ?? Math.max(1, Math.floor(has.tcpMemory / 2)),
  ports: asked.ports ?? Math.max(1, Math.floor((has.ephemeral.last - has.ephemeral.first + 1) / 2)),
  halfOpen: asked.halfOpen ?? HALF_OPEN
})

/**
 * Descriptors beside those of flows: 32 pipes in use and 16 kept (native/addon/pipes.h), two each; and 64 for listeners of
 * automatic ports, for what is accepted but not yet a flow, and for files.
 */
const RESERVE = 2 * (32 + 16) + 64

/** What flows may have of the `allowed` descriptors when `open` of them are open, listeners' too; half of the rest where that is little. */
export const filesBeside = (limit: number, allowed: number, open: number): number => {
  const left = open < allowed ? allowed - open : 0
  return Math.max(1, Math.min(limit, left - Math.min(RESERVE, Math.ceil(left / 2))))
}

/**
 * The guest's part of the ephemeral ports: from the first one on. What the kernel chooses for its TCP connections comes from
 * there; null: all of them are the guest's.
 */
export const guestPorts = (ephemeral: PortRange, ports: number): PortRange | null =>
  ports > ephemeral.last - ephemeral.first
    ? null
    : { first: ephemeral.first, last: ephemeral.first + ports - 1 }

/** "Max open files" of /proc/PID/limits: the soft one; infinite where it does not say. */
export const openFilesOf = (limits: string): number => {
  const m = /^Max open files +([0-9]+)/m.exec(limits)
  return m === null ? Number.POSITIVE_INFINITY : Number(m[1])
}

/** Pages have at least so many octets. */
const PAGE = 4096
/** Where there is no tcp_mem to see, in a container: what the kernel makes it of the machine's memory. */
const TCP_SHARE = 16

/** `tcpMem`: pages, three numbers; `memInfo`: /proc/meminfo. Infinite where neither says. */
export const tcpMemoryOf = (tcpMem: string, memInfo: string): number => {
  const pages = Number(tcpMem.trim().split(/\s+/)[1])
  if (pages > 0) return pages * PAGE
  const m = /^MemTotal: +([0-9]+) kB/m.exec(memInfo)
  return m === null ? Number.POSITIVE_INFINITY : Math.floor((Number(m[1]) * 1024) / TCP_SHARE)
}
