import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type PortRange, type PortSpec, parsePortSpec } from '../src/codecs/text/port-spec.js'
import {
  fromV4,
  type InAny,
  isUnspecified,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr,
  UNSPECIFIED4,
  UNSPECIFIED6
} from '../src/codecs/value/inany.js'
import { type BindFailure, bindVerdict, type CannotListen } from '../src/machines/forward/bind-verdict.js'
import {
  type ForwardEnv,
  type Forwarding,
  forwardRules,
  type PortOptions,
  type Rule,
  ruleFor,
  targetOf,
  withoutV6
} from '../src/machines/forward/forward-rules.js'
import {
  type GivenSocket,
  givenSocket,
  NOTHING_GIVEN,
  type SocketFacts
} from '../src/machines/forward/given-sockets.js'
import { arbPorts, arbRange, type Ports } from './port-arbitraries.js'

const PASTA: ForwardEnv = {
  mode: 'pasta',
  tcp: true,
  udp: true,
  ephemeral: { first: 32768, last: 60999 },
  v4: true,
  v6: true,
  bindToDevice: true,
  given: NOTHING_GIVEN
}
const NONE: PortOptions = {
  tcpIn: [{ kind: 'none' }],
  udpIn: [{ kind: 'none' }],
  tcpOut: [{ kind: 'none' }],
  udpOut: [{ kind: 'none' }]
}
const spec = (text: string): PortSpec => E.getOrElse((): PortSpec => assert.fail(text))(parsePortSpec(text))
const specs = (...texts: string[]): ReadonlyArray<PortSpec> => texts.map(spec)
const make = (options: Partial<PortOptions>, env: Partial<ForwardEnv> = {}): Forwarding =>
  E.getOrElse((why: string): Forwarding => assert.fail(why))(
    forwardRules({ ...PASTA, ...env }, { ...NONE, ...options })
  )
const tcpIn = (...texts: string[]): ReadonlyArray<Rule> => make({ tcpIn: specs(...texts) }).rules
const ranges = (rules: ReadonlyArray<Rule>): string =>
  rules.map((r) => `${r.first}-${r.last}>${r.to}${r.weak ? 'w' : ''}${r.scan ? 's' : ''}`).join(' ')
const refused = (options: Partial<PortOptions>, why: RegExp, env: Partial<ForwardEnv> = {}): void => {
  const r = forwardRules({ ...PASTA, ...env }, { ...NONE, ...options })
  assert.match(E.isLeft(r) ? r.left : `accepted: ${ranges(r.right.rules)}`, why)
}

describe('what specifications mean', () => {
  const rows: ReadonlyArray<readonly [string, string]> = [
    ['22', '22-22>22'],
    ['22-80:32-90,~25,~30-31', '22-24>32 26-29>36 32-80>42'],
    ['~20000-20010', '1-19999>1w 20011-32767>20011w 61000-65535>61000w'],
    ['all', '1-32767>1w 61000-65535>61000w'],
    ['40000-40002,all', '40000-40002>40000 1-32767>1w 61000-65535>61000w'],
    ['auto', '1-32767>1ws 61000-65535>61000ws'],
    ['40000:80,auto', '40000-40000>80s'],
    ['auto,~1-32767', '61000-65535>61000ws'],
    ['1-10,~1-3,~2-5,~10', '6-9>6']
  ]
  for (const [text, want] of rows) test(text, () => assert.equal(ranges(tcpIn(text)), want))
  test('repeated options accumulate, each its own specification', () => {
    const rules = tcpIn('22', '80:8080')
    assert.equal(ranges(rules), '22-22>22 80-80>8080')
    assert.deepEqual(
      rules.map((r) => r.spec),
      [0, 1]
    )
  })
  test('defaults: pasta auto for each absent option, passt nothing; UDP does not follow explicit TCP ports', () => {
    const absent: PortOptions = { tcpIn: [], udpIn: [], tcpOut: [], udpOut: [] }
    assert.ok(make(absent).rules.every((r) => r.scan))
    assert.equal(make(absent).rules.length, 8)
    assert.deepEqual(make(absent, { mode: 'passt' }).rules, [])
    const some = make({ tcpIn: specs('22'), udpIn: specs('none') }).rules
    assert.ok(some.every((r) => r.proto === 'tcp'))
    assert.deepEqual(make(absent, { tcp: false, udp: false }).rules, [])
  })
  test('any address: dual-stack, or what is switched on', () => {
    const ends = (text: string, env: Partial<ForwardEnv> = {}): unknown =>
      make({ tcpIn: specs(text) }, env).rules.map((r) => [r.bind, r.v6only, r.ifname])
    assert.deepEqual(ends('22'), [[null, false, null]])
    assert.deepEqual(ends('22', { v6: false }), [[UNSPECIFIED4, false, null]])
    assert.deepEqual(ends('22', { v4: false }), [[UNSPECIFIED6, true, null]])
    assert.deepEqual(ends('::/22'), [[UNSPECIFIED6, true, null]])
    assert.deepEqual(ends('0.0.0.0/22'), [[UNSPECIFIED4, false, null]])
    assert.deepEqual(ends('%eth0/22'), [[null, false, 'eth0']])
  })
  test('listeners in the namespace: on lo', () => {
    const tcpOut = specs('7005')
    assert.equal(make({ tcpOut }).rules[0]?.ifname, 'lo')
    const { rules, warnings } = make({ tcpOut }, { bindToDevice: false })
    assert.deepEqual(
      rules.map((r) => [r.bind, r.ifname]),
      [
        [LOOPBACK4, null],
        [LOOPBACK6, null]
      ]
    )
    assert.equal(warnings.length, 1)
  })
  test('regression-88: outbound forwards with one IP version only', () => {
    const at = (env: Partial<ForwardEnv>): ReadonlyArray<InAny | null> =>
      make({ tcpOut: specs('7005') }, env).rules.map((r) => r.bind)
    assert.deepEqual(at({ v4: false }), [UNSPECIFIED6])
    assert.deepEqual(at({ v4: false, bindToDevice: false }), [LOOPBACK6])
    assert.deepEqual(at({ v6: false, bindToDevice: false }), [LOOPBACK4])
  })
  test('regression-90: without IPv6 in the kernel, dual-stack rules listen for IPv4', () => {
    assert.deepEqual(
      tcpIn('22')
        .map(withoutV6)
        .map((r) => r?.bind),
      [UNSPECIFIED4]
    )
    assert.deepEqual(tcpIn('::/22').map(withoutV6), [null])
    assert.deepEqual(tcpIn('127.0.0.1/22').map(withoutV6), tcpIn('127.0.0.1/22'))
  })
  test('regression-33: source and target port differ', () => {
    const [r] = tcpIn('8000-8010:7800-7810')
    assert.equal(targetOf(r!, 8002), 7802)
  })
  test('none in front of ports', () => assert.equal(ranges(tcpIn('none', '22', '23')), '22-22>22 23-23>23'))
})

describe('refused', () => {
  const tcp = (...texts: string[]): Partial<PortOptions> => ({ tcpIn: specs(...texts) })
  test('a port twice, with addresses that meet', () => {
    const twice = /--tcp-ports \S+: port \d+ given twice/
    refused(tcp('8000', '8000'), twice)
    refused(tcp('8000', '127.0.0.1/8000'), twice)
    refused(tcp('0.0.0.0/8000', '127.0.0.1/7990-8010'), twice)
    refused(tcp('%eth0/8000', '%eth1/8000'), twice)
    refused(tcp('auto', 'auto'), twice)
    refused(tcp('auto', '22'), twice)
    refused(tcp('all,22'), twice)
    tcpIn('127.0.0.1/8000', '127.0.0.2/8000', '::1/8000', '192.0.2.1/8000')
    tcpIn('0.0.0.0/8000', '::/8000')
    make({ tcpIn: specs('8000'), udpIn: specs('8000'), tcpOut: specs('8000') })
  })
  test('keywords out of place', () => {
    refused(tcp('22', 'none'), /--tcp-ports none: 'none' behind other ports/)
    refused(tcp('auto,~1-65535', 'none'), /'none' behind other ports/)
    refused(tcp('auto'), /for pasta only/, { mode: 'passt' })
    refused({ tcpOut: specs('22') }, /--tcp-ns 22: for pasta only/, { mode: 'passt' })
  })
  test('IP version switched off', () => {
    refused(tcp('::1/22'), /listening address ::1, but IPv6 is switched off/, { v6: false })
    refused(tcp('127.0.0.1/22'), /IPv4 is switched off/, { v4: false })
  })
  test('targets of another IP version', () => {
    refused(tcp('8000:192.0.2.5/6000'), /0\.0\.0\.0\/8000/)
    make({ tcpIn: specs('8000:192.0.2.5/6000') }, { v6: false })
    make({ tcpIn: specs('0.0.0.0/8000:192.0.2.5/6000', '0.0.0.0/all:192.0.2.5,~8000') })
    make({ tcpIn: specs('8000:[2001:db8::5]/6000') })
  })
  test('addresses and interfaces', () => {
    refused({ tcpOut: specs('127.0.0.1/22') }, /no listening address/)
    refused({ udpOut: specs('%lo/22') }, /no listening address/)
    refused(tcp('%eth0/22'), /cannot listen on interface eth0/, { bindToDevice: false })
  })
  test('nothing left, protocol off, too much', () => {
    refused(tcp('22,~22'), /no port is left/)
    refused(tcp('~1-65535'), /no port is left/)
    assert.deepEqual(tcpIn('auto,~1-65535'), [])
    refused(tcp('22'), /--no-tcp/, { tcp: false })
    const odd = (n: number): string => Array.from({ length: n }, (_, i) => 2 * i + 1).join(',')
    assert.equal(tcpIn(odd(255)).length, 255)
    refused(tcp(odd(256)), /more than 255/)
    const both = { tcpIn: specs(odd(200)), udpIn: specs(odd(56)) }
    refused(both, /--udp-ports: more than 255 ranges of ports, TCP and UDP together/)
    const quarter = (i: number): string => `127.0.0.${i}/1-65535`
    refused(tcp(...[1, 2, 3].map(quarter), '127.0.0.4/1-100'), /at most 196608/)
  })
})

// --- against a model that looks at every port and address by itself

const HERE = fromV4(0xc0000201)
const HERE6: InAny = [0x20010db8, 0, 0, 1]
const arbBind = fc.constantFrom<InAny | null>(null, null, UNSPECIFIED4, UNSPECIFIED6, HERE, HERE6)
const arbOne: fc.Arbitrary<PortSpec> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<PortSpec>({ kind: 'none' }) },
  {
    weight: 12,
    arbitrary: fc.tuple(arbPorts(arbBind), fc.nat(9), fc.nat(9), fc.nat(9)).map(
      ([s, targets, all, auto]): Ports => ({
        ...s,
        ifname: null,
        auto: s.auto && auto < 4,
        all: s.items.length === 0 || (s.all && all < 2),
        allAddress: null,
        items: targets < 2 ? s.items : s.items.map((i) => ({ ...i, address: null }))
      })
    )
  }
)
const arbList = fc.array(arbOne, { maxLength: 3 })
const arbEnv: fc.Arbitrary<ForwardEnv> = fc.record({
  mode: fc.constantFrom('pasta' as const, 'pasta' as const, 'passt' as const),
  tcp: fc.constant(true),
  udp: fc.constant(true),
  ephemeral: fc.oneof(fc.constant<PortRange>({ first: 100, last: 60999 }), arbRange),
  v4: fc.constant(true),
  v6: fc.boolean(),
  bindToDevice: fc.boolean(),
  given: fc.constant(NOTHING_GIVEN)
})
const inside = (p: number, r: PortRange): boolean => r.first <= p && p <= r.last

interface Lead {
  readonly to: number
  readonly address: InAny | null
  readonly named: boolean
}
const leads = (env: ForwardEnv, s: Ports, p: number): ReadonlyArray<Lead> =>
  s.excluded.some((r) => inside(p, r))
    ? []
    : [
        ...s.items
          .filter((i) => inside(p, i.from))
          .map((i) => ({ to: i.to + p - i.from.first, address: i.address, named: true })),
        ...(s.all && !inside(p, env.ephemeral) ? [{ to: p, address: s.allAddress, named: false }] : [])
      ]
const hears = (env: ForwardEnv, s: Ports, a: InAny): boolean =>
  (isV4(a) ? env.v4 : env.v6) &&
  (s.bind === null || (isUnspecified(s.bind) ? isV4(s.bind) === isV4(a) : sameAddr(s.bind, a)))
const PLACES: ReadonlyArray<InAny> = [HERE, HERE6, LOOPBACK4, LOOPBACK6]
const wrong = (env: ForwardEnv, list: ReadonlyArray<PortSpec>, ports: ReadonlyArray<number>): boolean => {
  const real = list.flatMap((s) => (s.kind === 'ports' ? [s] : []))
  const firstReal = list.findIndex((s) => s.kind === 'ports')
  if (firstReal >= 0 && list.slice(firstReal).some((s) => s.kind === 'none')) return true
  const family = (s: Ports): boolean => (s.bind === null ? !env.v6 : isV4(s.bind))
  return (
    real.some((s) => s.auto && env.mode === 'passt') ||
    real.some((s) => s.bind !== null && !(isV4(s.bind) ? env.v4 : env.v6)) ||
    real.some((s) => !s.auto && ports.every((p) => leads(env, s, p).length === 0)) ||
    real.some((s) =>
      s.items.some(
        (i) =>
          i.address !== null &&
          isV4(i.address) !== family(s) &&
          ports.some((p) => inside(p, i.from) && leads(env, s, p).length > 0)
      )
    ) ||
    PLACES.some((a) =>
      ports.some((p) => real.filter((s) => hears(env, s, a)).flatMap((s) => leads(env, s, p)).length > 1)
    )
  )
}
/** Every end of a range, and its neighbours: between them nothing changes. */
const interesting = (env: ForwardEnv, list: ReadonlyArray<PortSpec>): ReadonlyArray<number> => {
  const all = list.flatMap((s) => (s.kind === 'ports' ? [...s.items.map((i) => i.from), ...s.excluded] : []))
  const ends = [env.ephemeral, ...all].flatMap((r) => [r.first - 1, r.first, r.last, r.last + 1])
  return [1, 65535, ...ends].filter((p) => p >= 1 && p <= 65535)
}

test('rules are what the specifications say, port by port and address by address, or refused for a reason', () => {
  let accepted = 0
  fc.assert(
    fc.property(arbEnv, arbList, (env, list) => {
      const made = forwardRules(env, { ...NONE, udpIn: list })
      const shown = list.length > 0 || env.mode === 'passt' ? list : specs('auto')
      const ports = interesting(env, shown)
      assert.equal(E.isLeft(made), wrong(env, shown, ports), E.isLeft(made) ? made.left : 'accepted')
      if (E.isLeft(made)) return
      accepted++
      const real = shown.flatMap((s) => (s.kind === 'ports' ? [s] : []))
      for (const a of PLACES)
        for (const p of ports) {
          const of = real.filter((s) => hears(env, s, a) && leads(env, s, p).length > 0)[0]
          const want = of === undefined ? undefined : leads(env, of, p)[0]
          const rule = ruleFor(made.right.rules, 'udp', 'in', a, p)
          assert.equal(ruleFor(made.right.rules, 'tcp', 'in', a, p), null)
          assert.equal(rule === null ? undefined : targetOf(rule, p), want?.to)
          assert.deepEqual(rule?.toAddress, want?.address)
          assert.equal(rule?.scan, of?.auto)
          assert.equal(rule?.weak, of === undefined ? undefined : !want?.named)
        }
    }),
    { numRuns: 1500 }
  )
  assert.ok(accepted > 300, `${accepted} accepted`)
})

test('regression-23: the mapping of a rule is a bijection, within 1..65535', () =>
  fc.assert(
    fc.property(arbList, (list) => {
      const made = forwardRules(PASTA, { ...NONE, tcpIn: list })
      for (const r of E.isRight(made) ? made.right.rules : []) {
        assert.ok(r.first >= 1 && r.first <= r.last && r.last <= 65535)
        assert.ok(r.to >= 1 && targetOf(r, r.last) <= 65535)
        const step = Math.max(1, Math.floor((r.last - r.first) / 50))
        for (let p = r.first; p <= r.last; p += step) assert.equal(targetOf(r, p) - p, r.to - r.first)
      }
    })
  ))

describe('bindVerdict: which failures matter', () => {
  const verdict = (rules: ReadonlyArray<Rule>, failures: ReadonlyArray<BindFailure>): string =>
    E.match(
      (why: CannotListen) => `fatal: ${why.text}`,
      (lines: ReadonlyArray<string>) => lines.join('\n')
    )(bindVerdict(rules, failures))
  const every = (rules: ReadonlyArray<Rule>, errno: number): ReadonlyArray<BindFailure> =>
    rules.flatMap((r, rule) =>
      Array.from({ length: r.last - r.first + 1 }, (_, i) => ({ rule, port: r.first + i, errno }))
    )
  test('a named port has to work, and the reason says what helps', () => {
    assert.match(
      verdict(tcpIn('22'), [{ rule: 0, port: 22, errno: 13 }]),
      /^fatal: .*port 22: .*unprivileged_port_start=22/
    )
    assert.match(
      verdict(tcpIn('192.0.2.1/8000'), [{ rule: 0, port: 8000, errno: 99 }]),
      /192\.0\.2\.1 .*--freebind/
    )
    assert.match(
      verdict(tcpIn('8000-9000'), [{ rule: 0, port: 8001, errno: 24 }]),
      /Too many open files.*hard limit/
    )
  })
  test('of all, some may be missing: over the whole specification, not range by range', () => {
    const rules = tcpIn('~100-32000')
    const low = every(rules.slice(0, 1), 13)
    assert.equal(low.length, 99)
    assert.equal(
      verdict(rules, low),
      'cannot listen: TCP port 1-99: Permission denied (sysctl net.ipv4.ip_unprivileged_port_start=1 allows it)'
    )
    assert.match(
      verdict(rules, every(rules, 98)),
      /^fatal: none of the ports works: .*Address already in use/
    )
  })
  test('auto: never fatal', () => {
    const rules = tcpIn('auto')
    assert.doesNotMatch(verdict(rules, every(rules, 98)), /fatal/)
  })
  test('regression-88: ::1 missing in the namespace, 127.0.0.1 there', () => {
    const { rules } = make({ tcpOut: specs('7005') }, { bindToDevice: false })
    assert.doesNotMatch(verdict(rules, [{ rule: 1, port: 7005, errno: 99 }]), /fatal/)
    assert.match(verdict(rules, every(rules, 99)), /fatal/)
    assert.match(verdict(rules, [{ rule: 1, port: 7005, errno: 98 }]), /fatal/)
  })
  test('nothing failed, nothing said', () => assert.equal(verdict(tcpIn('22', '80'), []), ''))
})

describe('UNIX sockets', () => {
  const all = (options: Partial<PortOptions>, env: Partial<ForwardEnv> = {}): ReadonlyArray<unknown> =>
    make(options, env).rules.map((r) => [r.direction, r.ifname, `${r.first}>${r.to}`, r.toAddress, r.unix])
  test('listened at: behind all other rules, at no port', () =>
    assert.deepEqual(
      all({ tcpIn: specs('unix:/a:80', 'unix:/b:[2001:db8::5]/81', '22'), udpIn: specs('53') }),
      [
        ['in', null, '22>22', null, null],
        ['in', null, '53>53', null, null],
        ['in', null, '0>80', null, { path: '/a', number: 0 }],
        ['in', null, '0>81', [0x20010db8, 0, 0, 5], { path: '/b', number: 0 }]
      ]
    ))
  test('led to: by numbers, one for each path', () =>
    assert.deepEqual(all({ tcpOut: specs('1:unix:/a', '2:unix:/b', '3:unix:/a') }), [
      ['out', 'lo', '1>1', null, { path: '/a', number: 0 }],
      ['out', 'lo', '2>2', null, { path: '/b', number: 1 }],
      ['out', 'lo', '3>3', null, { path: '/a', number: 0 }]
    ]))
  const refusals: ReadonlyArray<readonly [Partial<PortOptions>, RegExp, Partial<ForwardEnv>?]> = [
    [{ tcpIn: specs('unix:/a:80', 'unix:/a:81') }, /path \/a given twice/],
    [{ tcpOut: specs('80:unix:/a', '80') }, /port 80 given twice/],
    [{ udpIn: specs('unix:/a:80') }, /is for TCP/],
    [{ udpOut: specs('80:unix:/a') }, /is for TCP/],
    [{ tcpOut: specs('unix:/a:80') }, /cannot be listened at/],
    [{ tcpIn: specs('80:unix:/a') }, /does not lead to a UNIX socket of the host/],
    [{ tcpIn: specs('unix:/a:80'), tcpOut: [], udpOut: [] }, /for pasta only/, { mode: 'passt' }]
  ]
  for (const [options, why, env] of refusals) test(`refused: ${why}`, () => refused(options, why, env))
})

describe('sockets that we were started with', () => {
  const TCP: SocketFacts = {
    domain: 10,
    type: 1,
    protocol: 6,
    listens: true,
    connected: false,
    addr: UNSPECIFIED6,
    port: 8080,
    v6only: false,
    device: null
  }
  const UDP: SocketFacts = {
    ...TCP,
    domain: 2,
    type: 2,
    protocol: 17,
    listens: false,
    addr: LOOPBACK4,
    port: 5353
  }
  const socket = (f: SocketFacts): E.Either<string, GivenSocket> => givenSocket(f, 1024)
  const given = new Map([
    ['3', [socket(TCP)]],
    [
      'web',
      [socket({ ...TCP, domain: 2, addr: LOOPBACK4 }), socket({ ...TCP, addr: LOOPBACK6 }), socket(UDP)]
    ],
    ['unix', [socket({ ...TCP, domain: 1, protocol: 0, addr: [0, 0, 0, 0], port: 0 })]]
  ])
  const at = (key: keyof PortOptions, ...texts: string[]): ReadonlyArray<unknown> =>
    make({ [key]: specs(...texts) }, { given }).rules.map((r) => [
      r.bind,
      r.v6only,
      `${r.first}-${r.last}>${r.to}`,
      r.toAddress,
      r.given
    ])
  test('a rule for each, at its own address and port', () => {
    assert.deepEqual(at('tcpIn', 'fd:3:80'), [[null, false, '8080-8080>80', null, '3']])
    assert.deepEqual(at('tcpIn', 'fd:web:80'), [
      [LOOPBACK4, false, '8080-8080>80', null, 'web'],
      [LOOPBACK6, true, '8080-8080>80', null, 'web']
    ])
    const to = fromV4(0xc0000205)
    assert.deepEqual(at('udpIn', 'fd:web:192.0.2.5/53'), [[LOOPBACK4, false, '5353-5353>53', to, 'web']])
  })
  const refusals: ReadonlyArray<readonly [keyof PortOptions, string, RegExp, Partial<ForwardEnv>?]> = [
    ['tcpIn', 'fd:4:80', /^--tcp-ports fd:4:80: we were started without such a descriptor$/],
    ['tcpIn', 'fd:unix:80', /: it is a UNIX socket$/],
    ['udpIn', 'fd:3:80', /: it is no UDP socket$/],
    ['tcpOut', 'fd:3:80', /: sockets by descriptor are for -t and -u only$/],
    ['tcpIn', 'fd:3:192.0.2.5/80', /: target 192.0.2.5 is not of the socket's IP version$/],
    ['tcpIn', 'fd:web:80', /: it is a socket of IPv4, which is switched off$/, { v4: false }],
    ['tcpIn', 'fd:web:80', /: it is a socket of IPv6, which is switched off$/, { v6: false }]
  ]
  for (const [key, text, why, env] of refusals)
    test(`refused: ${key} ${text}`, () => refused({ [key]: specs(text) }, why, { given, ...env }))
  test('not beside another rule for its port', () =>
    refused({ tcpIn: specs('8080', 'fd:3:80') }, /port 8080 given twice/, { given }))
  const facts: ReadonlyArray<readonly [SocketFacts, string]> = [
    [{ ...TCP, listens: false }, 'it does not listen'],
    [{ ...TCP, connected: true, listens: false }, 'it is connected'],
    [{ ...TCP, protocol: 262 }, 'it is neither TCP nor UDP (type 1, protocol 262)'],
    [{ ...TCP, type: 2 }, 'it is neither TCP nor UDP (type 2, protocol 6)'],
    [{ ...TCP, domain: 16 }, 'it is of address family 16'],
    [{ ...UDP, connected: true }, 'it is connected'],
    [{ ...UDP, port: 0 }, 'it is not bound']
  ]
  for (const [f, why] of facts) test(why, () => assert.deepEqual(socket(f), E.left(why)))
  test('a UDP port that answers could not come from', () => {
    const low = socket({ ...UDP, port: 53 })
    assert.match(E.isLeft(low) ? low.left : '', /its port 53, which we may not bind/)
    assert.ok(E.isRight(givenSocket({ ...UDP, port: 53 }, 0)))
  })
})
