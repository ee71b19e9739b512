import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import type { InAny } from '../../codecs/value/inany.js'
import { orNull } from '../../codecs/value/or-null.js'
import type { Links } from '../../machines/address/on-link.js'
import type { Plan } from '../plan/plan-types.js'
import type { WorldFamily, WorldPlan } from './world-config.js'
import { address, family, onLink, writtenFamily, writtenLinks } from './written-plan.js'

// What the world hears of another state of the host (EV.HOST), as JSON: a record of a run has it (docs/replay.md).

/** Of a plan what may be another one. */
export interface HostTold {
  readonly v4: WorldFamily | null
  readonly v6: WorldFamily | null
  readonly dhcp: boolean
  readonly dhcpv6: boolean
  readonly search: ReadonlyArray<string>
  /** Of the template's addresses. */
  readonly links: Links
  /** The namespace has these addresses already. */
  readonly configured: boolean
  /** Addresses that the host has no longer: flows from there cannot go on. */
  readonly gone: ReadonlyArray<InAny>
}

/** A template with more addresses than this has no further prefixes. */
const LINKS_MAX = 64

const written = t.type({
  v4: orNull(family),
  v6: orNull(family),
  dhcp: t.boolean,
  dhcpv6: t.boolean,
  search: t.array(t.string),
  links: t.array(onLink),
  configured: t.boolean,
  gone: t.array(address)
})

export const toldOf = (p: Plan, links: Links, gone: ReadonlyArray<InAny>): HostTold => ({
  v4: p.v4,
  v6: p.v6,
  dhcp: p.dhcp,
  dhcpv6: p.dhcpv6,
  search: p.search,
  links: links.filter((l) => l.index === p.v4?.index || l.index === p.v6?.index).slice(0, LINKS_MAX),
  configured: p.configNet,
  gone
})

export const toldText = (h: HostTold): string =>
  JSON.stringify({
    ...h,
    v4: writtenFamily(h.v4),
    v6: writtenFamily(h.v6),
    links: writtenLinks(h.links)
  } satisfies Omit<t.OutputOf<typeof written>, 'search' | 'gone'> & Pick<HostTold, 'search' | 'gone'>)

/** null: it is none. Law: parseTold(toldText(h)) = h. */
export const parseTold = (json: string): HostTold | null => {
  try {
    const h = written.decode(JSON.parse(json))
    return E.isRight(h) ? h.right : null
  } catch {
    return null
  }
}

/** The plan with what was told. */
export const withTold = (p: WorldPlan, h: HostTold): WorldPlan => ({
  ...p,
  v4: h.v4,
  v6: h.v6,
  dhcp: h.dhcp,
  dhcpv6: h.dhcpv6,
  search: h.search
})
