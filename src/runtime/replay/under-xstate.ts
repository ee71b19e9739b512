import { type AnyStateMachine, initialTransition, transition } from 'xstate'
import { dotted } from '../../explore/chart.js'
import { pingMachine } from '../../machines/flow/ping.js'
import { tcpSpliceMachine } from '../../machines/flow/tcp-splice.js'
import { udpMachine } from '../../machines/flow/udp.js'
import { udpSpliceMachine } from '../../machines/flow/udp-splice.js'
import { confClientMachine } from '../../machines/forward/conf-client.js'
import { guestLinkMachine } from '../../machines/link/guest-link.js'
import { migrationSourceMachine } from '../../machines/link/migration-source.js'
import { migrationTargetMachine } from '../../machines/link/migration-target.js'
import { vhostSessionMachine } from '../../machines/link/vhost-session.js'
import { ndpMachine } from '../../machines/services/ndp.js'
import { tcpMachine } from '../../machines/tcp/tcp.js'
import { machine as guestLink } from '../engine/guest-link.js'
import { machine as confClient } from '../engine/live-rules.js'
import { machine as migrationTarget } from '../engine/migrate-in.js'
import { machine as migrationSource } from '../engine/migrate-out.js'
import { machine as vhostSession } from '../engine/vhost.js'
import { machines } from '../flow/kinds.js'
import type { Compiled, State } from '../machine/compile.js'
import { ndp } from '../services/serve.js'

// The same machines without the compiler: xstate's own transition() in the place of each table.

export type Table = Compiled<unknown, unknown, unknown, unknown>
/** All but that of automatic ports, which is not replayed. */
export const TABLES: ReadonlyArray<readonly [Table, AnyStateMachine]> = (
  [
    [machines.tcp, tcpMachine],
    [machines.udp, udpMachine],
    [machines.ping, pingMachine],
    [machines['tcp-splice'], tcpSpliceMachine],
    [machines['udp-splice'], udpSpliceMachine],
    [ndp, ndpMachine],
    [guestLink, guestLinkMachine],
    [vhostSession, vhostSessionMachine],
    [migrationSource, migrationSourceMachine],
    [migrationTarget, migrationTargetMachine],
    [confClient, confClientMachine]
  ] as ReadonlyArray<readonly [unknown, AnyStateMachine]>
).map(([table, machine]) => [table as Table, machine])

/** 'open.established' -> { open: 'established' }; `dotted` is the way back. */
export const nested = (leaf: string): unknown => {
  const dot = leaf.indexOf('.')
  return dot < 0 ? leaf : { [leaf.slice(0, dot)]: nested(leaf.slice(dot + 1)) }
}

const interpreted = (table: Table, machine: AnyStateMachine): Pick<Table, 'start' | 'step'> => {
  const nodes = new Map(table.leaves.map((leaf, i) => [leaf, i]))
  const values = table.leaves.map(nested)
  type Taken = readonly [
    { readonly value: unknown; readonly context: unknown },
    ReadonlyArray<{ readonly type: string; readonly params: unknown }>
  ]
  const state = ([next, actions]: Taken, out: unknown[]): State<unknown> => {
    for (const { type, params } of actions) out.push({ type, ...(params as object | undefined) })
    return { node: nodes.get(dotted(next.value)) ?? -1, context: next.context }
  }
  return {
    start: (input, out) => state(initialTransition(machine, input as never) as unknown as Taken, out),
    step: (s, event, out) => {
      if (table.isFinal(s)) return s
      const here = machine.resolveState({ value: values[s.node], context: s.context } as never)
      return state(transition(machine, here, event as never) as unknown as Taken, out)
    }
  }
}

/** Other functions in the place of each table's. From here on in this process, until what is returned is called. */
export const inPlaceOfTables = (
  others: (table: Table, machine: AnyStateMachine) => Pick<Table, 'start' | 'step'>
): (() => void) => {
  const before = TABLES.map(([table]) => ({ table, start: table.start, step: table.step }))
  for (const [table, machine] of TABLES) Object.assign(table, others(table, machine))
  return () => {
    for (const { table, start, step } of before) Object.assign(table, { start, step })
  }
}
export const useXstate = (): (() => void) => inPlaceOfTables(interpreted)
