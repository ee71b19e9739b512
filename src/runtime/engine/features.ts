import { OFFERS } from '../../machines/link/vhost-session.js'
import { guestFrames } from '../data/demux.js'
import type { Feature } from '../data/feature.js'
import { flows } from '../data/flows.js'
import { listeners } from '../data/forward.js'
import { fragments } from '../data/fragments.js'
import { groupReplies } from '../data/group-replies.js'
import { rateLimits } from '../data/rate-limit.js'
import { socketMemory } from '../data/socket-memory.js'
import type { World } from '../data/world.js'
import type { Life } from '../host/launcher.js'
import { capture } from '../observe/capture.js'
import { observers } from '../observe/watch.js'
import type { Plan } from '../plan/plan-types.js'
import type { AskRules } from '../record/answers.js'
import { type Neighbours, neighbours } from '../services/neighbours.js'
import { arpAndDhcp, neighbourDiscovery } from '../services/serve.js'
import type { Api } from './api.js'
import { apiRules } from './api-rules.js'
import { collectWhenCalm } from './collect-when-calm.js'
import { followed } from './followed.js'
import { guestLink, type LinkClient } from './guest-link.js'
import { type Here, handOver } from './hand-over.js'
import { liveRules, type RulesNow } from './live-rules.js'
import { signsOfLife } from './signs-of-life.js'
import { collect } from './v8.js'
import type { Found, WorldPlan } from './world-config.js'

// The lists of features. What is to come is one more of them.

/** What a world has without a host: that of the warm-up, and of tests. */
export const basicFeatures = (w: World): ReadonlyArray<Feature> => [
  rateLimits(w),
  guestFrames(w),
  flows(w),
  listeners(w),
  groupReplies(w),
  fragments(w),
  arpAndDhcp(w),
  neighbourDiscovery(w)
]

/** The launcher never speaks unasked: whatever comes means the end. */
const launcherEnd = (w: World): Feature => ({
  name: 'launcher',
  keeps: null,
  takes: {
    CTL: () => {
      w.ended = { why: 'stop' }
    }
  }
})

/** What rings where the host is played: what it has led to comes as well (EV.HOST). */
const unheard: Feature = { name: 'what the host announces', keeps: null, takes: { HOST_BELL: () => {} } }

/** What was brought up before there was a world. */
export interface Opened {
  /** null: the kernel does not tell. */
  readonly neighbours: Neighbours | null
  /** What the world was begun with. */
  readonly host: { readonly plan: WorldPlan; readonly found: Omit<Found, 'macOf'> }
  /** null: the host is not followed, or played. */
  readonly follow: Feature | null
  /** null: no rule has automatic ports. */
  readonly portScan: Feature | null
  /** With --conf-path: rules that change, and who makes others count. */
  readonly rules: { readonly now: RulesNow; readonly door: AskRules }
  /** The guest link's client. */
  readonly client: LinkClient
  /** What a process gets that takes our place; null: nobody may. */
  readonly here: Here | null
  /** null: without --api, or in a replay. */
  readonly api: Api | null
  /** null: nobody asks whether we are alive. */
  readonly life: Life | null
}

/** What features need of the plan. */
export type FeaturePlan = Pick<
  Plan,
  'link' | 'vhostUser' | 'oneOff' | 'migrateExit' | 'migrateNoLinger' | 'pcap' | 'confPath' | 'apiPath'
>
/** Are there clients that may ask for other rules? */
export const rulesMayChange = (p: Pick<Plan, 'confPath' | 'apiPath'>): boolean =>
  p.confPath !== null || p.apiPath !== null

/** All that the plan asks for and that has a say in what is done: that of a replay as well, which has no port scan. A record ends where a hand-over begins. */
export const actingFeatures = (
  w: World,
  p: FeaturePlan,
  o: Omit<Opened, 'here' | 'life'>
): ReadonlyArray<Feature> => [
  ...basicFeatures(w),
  launcherEnd(w),
  socketMemory(w),
  ...(o.neighbours === null ? [] : [neighbours(w, o.neighbours)]),
  followed(w, o.host.plan, o.host.found, o.neighbours),
  o.follow ?? unheard,
  ...(p.link === null
    ? []
    : guestLink(
        w,
        p.oneOff,
        o.client,
        p.vhostUser === null
          ? null
          : { offer: OFFERS[p.vhostUser], exit: p.migrateExit, linger: !p.migrateNoLinger }
      )),
  ...(o.portScan === null ? [] : [o.portScan]),
  ...(rulesMayChange(p) ? [liveRules(w, o.rules.now, o.rules.door)] : []),
  ...(p.apiPath === null ? [] : [apiRules(w, o.rules.now, o.api?.told ?? null)]),
  ...(p.pcap === null ? [] : [capture(w, p.pcap)])
]

/** All that the plan asks for. */
export const allFeatures = (
  w: World,
  p: FeaturePlan & Pick<Plan, 'trace' | 'stats'>,
  o: Opened
): ReadonlyArray<Feature> => [
  ...actingFeatures(w, p, o),
  ...(o.here === null ? [] : [handOver(w, o.here, o.client)]),
  ...(o.life === null ? [] : [signsOfLife(w, o.life)]),
  ...(o.api === null ? [] : o.api.features),
  collectWhenCalm(collect),
  ...observers(w, p)
]
