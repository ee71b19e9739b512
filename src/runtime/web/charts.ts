import type { AnyStateMachine } from 'xstate'
import type { FlowKind } from '../../codecs/control/api.js'
import { pingMachine } from '../../machines/flow/ping.js'
import { tcpSpliceMachine } from '../../machines/flow/tcp-splice.js'
import { udpMachine } from '../../machines/flow/udp.js'
import { udpSpliceMachine } from '../../machines/flow/udp-splice.js'
import { tcpMachine } from '../../machines/tcp/tcp.js'
import type { Charts } from '../../page/live-model.js'
import { chartOf } from '../replay/chart-of.js'

const MACHINES: Readonly<Record<FlowKind, AnyStateMachine>> = {
  tcp: tcpMachine,
  udp: udpMachine,
  ping: pingMachine,
  'tcp-splice': tcpSpliceMachine,
  'udp-splice': udpSpliceMachine
}
/** The chart of each kind's machine, as far as it is drawn. */
export const flowCharts = (): Charts =>
  Object.fromEntries(
    Object.entries(MACHINES).map(([kind, m]) => [kind, { ...chartOf(m).chart, rows: [], fields: [] }])
  )
