// --pcap: both directions, checksums as on the wire whatever the tap's offloads, comments, a full disk.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { decodePcap } from '../src/codecs/log/pcap.js'
import { decodePcapng } from '../src/codecs/log/pcapng.js'
import { octets } from '../src/codecs/value/octets.js'
import { client, useBed } from './lib/bed.js'
import { helper, isPasst, isPeer, net, ok, pasta, quietPorts, describe as show } from './lib/world.js'

const bed = useBed({ hostSetup: 'mkdir /run/small; mount -t tmpfs -o mode=1777,size=256k tmpfs /run/small' })
const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const py = `python3 ${helper('client.py')}`
const read = (name: string): Buffer => readFileSync(join(bed.w.dir, name))
/** What tcpdump makes of a capture, checksums verified. */
const dump = (name: string): Promise<string> => bed.w.sh(`tcpdump -nnvv -r /mnt/w/${name} 2>&1`)

/** Everything that has a checksum, both ways and families, large enough for segments. */
const traffic = [
  `ping -n -c 2 -i 0.1 ${net.world4}`,
  `ping -n -c 2 -i 0.1 ${net.world6}`,
  `${py} tcp-get ${net.world4} 7003 300000`,
  `${py} tcp-get ${net.world6} 7003 300000`,
  `${py} tcp-send ${net.world4} 7004 300000`,
  `${py} udp-echo ${net.world4} 7001 10`,
  `${py} udp-echo ${net.world6} 7001 10`
].join('; ')

describe('a capture', () => {
  for (const name of ['a.pcap', 'a.pcapng'])
    for (const mtu of ['1500', '65520'])
      test(`${name}, MTU ${mtu}: tcpdump finds no bad checksum, nothing cut`, oursOnly, async () => {
        await bed.w.inside(traffic, ['-m', mtu, '-p', `/mnt/w/${name}`])
        const text = await dump(name)
        assert.match(text, /198\.51\.100\.2 > 198\.51\.100\.3: ICMP echo request/)
        assert.match(text, /2001:db8:9::3 > 2001:db8:9::2: \[icmp6 sum ok\] ICMP6, echo reply/)
        for (const what of [/cksum 0x\w+ \(correct\), seq/, /\[udp sum ok\]/, /ARP|neighbor/])
          assert.match(text, what)
        assert.doesNotMatch(text, /incorrect|bad udp|bad cksum|wrong|truncated|bogus/i)
        assert.match(text, /length (\d{4,})/)
      })
  test('fragments of the guest stand there as they came', oursOnly, async () => {
    const ping = `ping -n -c 1 -s 3000`
    await bed.w.inside(`${ping} ${net.world4}; ${ping} ${net.world6}`, ['-m', '1500', '-p', '/mnt/w/fr.pcap'])
    const text = await dump('fr.pcap')
    for (const what of [
      /offset 0, flags \[\+\], proto ICMP .*length 1500\)/,
      /offset 1480, flags \[\+\], proto ICMP/,
      /offset 2960, flags \[none\], proto ICMP/,
      /frag \(0x[0-9a-f]+:0\|1448\) ICMP6, echo request/,
      /frag \(0x[0-9a-f]+:2896\|112\)/,
      /ICMP echo reply.*length 3008/
    ])
      assert.match(text, what)
  })
  test('time stamps are those of the clock, and do not go back', async () => {
    const from = Date.now() / 1000
    await bed.w.inside(traffic, ['-p', '/mnt/w/t.pcap'])
    const records = decodePcap(octets(Uint8Array.from(read('t.pcap'))))
    assert.ok(typeof records !== 'string', String(records))
    const times = records.map((r) => r.seconds + r.micros / 1e6)
    assert.ok(times.length > 30 && times[0]! > from - 0.01 && times.at(-1)! < Date.now() / 1000)
    for (const [i, t] of times.entries()) if (i > 0) assert.ok(t >= times[i - 1]! - 0.005)
  })
})

describe('a pcapng capture', () => {
  test('says of each flow on its first frame what it is translated to', oursOnly, async () => {
    const port = 9080
    const proc = bed.w.startPasta(
      ['--config-net', '-p', '/mnt/w/f.pcapng', '-t', `${port}`],
      [
        'sh',
        '-ec',
        `(timeout 60 nc -l ${port} </dev/null >/dev/null; echo got) & until ss -ltnH | grep -q :${port}; do sleep 0.05; done; echo up; ${traffic}; wait`
      ]
    )
    await proc.sees(/up/)
    await bed.w.run(['sh', '-c', `echo x | nc -N ${net.host4} ${port}`], { in: 'world' })
    ok(await proc.wait())
    const blocks = decodePcapng(octets(Uint8Array.from(read('f.pcapng'))))
    assert.ok(typeof blocks !== 'string', String(blocks))
    assert.deepEqual(blocks.slice(0, 2), [
      { type: 'Section', application: `${isPasst ? 'passt' : 'pasta'} 0.1.0` },
      { type: 'Interface', linkType: 1, snapLen: 262144, name: isPasst ? '' : 'eth0', resolution: 9 }
    ])
    const packets = blocks.flatMap((b) => (b.type === 'Packet' ? [b] : []))
    const noted = packets.flatMap((p) =>
      p.comments.map((c) => ({ text: c, direction: p.direction, frame: p.frame }))
    )
    const about = (pattern: RegExp) => noted.filter((n) => pattern.test(n.text))
    const guest = `TAP \\[198\\.51\\.100\\.2\\]:\\d+ -> \\[198\\.51\\.100\\.3\\]:7003 => HOST \\? -> \\[198\\.51\\.100\\.3\\]:7003`
    const [get] = about(new RegExp(`^Flow \\d+ \\(TCP connection\\): ${guest}$`))
    assert.equal(get?.direction, 'in', noted.map((n) => n.text).join('\n'))
    // a SYN
    assert.equal(get!.frame[14 + 20 + 13], 2)
    const [came] = about(
      /^Flow \d+ \(TCP connection\): HOST \[198\.51\.100\.1\]:\d+ -> \[198\.51\.100\.2\]:9080 => TAP/
    )
    assert.deepEqual(
      [came?.direction, came?.frame[14 + 20 + 13]],
      ['out', 2],
      noted.map((n) => n.text).join('\n')
    )
    assert.equal(about(/\(ICMP ping\)/).length, 1)
    assert.equal(about(/\(ICMPv6 ping\)/).length, 1)
    assert.ok(about(/\(UDP flow\)/).length >= 2)
    assert.match(await dump('f.pcapng'), /7003/)
  })
})

describe('a full disk', () => {
  for (const name of ['c.pcap', 'c.pcapng'])
    test(
      `ends the capture with one message, between two frames; traffic goes on (${name})`,
      oursOnly,
      async () => {
        const r = await bed.w.pasta(
          ['--config-net', '-p', `/run/small/${name}`],
          ['sh', '-ec', `${py} tcp-get ${net.world4} 7003 3000000; ${traffic}`]
        )
        assert.equal(ok(r).stderr.match(/capture/g)?.length, 1, show(r))
        assert.match(r.stderr, /^error: capture ended: ENOSPC; traffic goes on$/m)
        await bed.w.sh(
          `cp /run/small/${name} /mnt/w/${name}; chmod 644 /mnt/w/${name}; rm /run/small/${name}`
        )
        const file = octets(Uint8Array.from(read(name)))
        const records = name.endsWith('ng') ? decodePcapng(file) : decodePcap(file)
        assert.ok(typeof records !== 'string', String(records))
        assert.ok(records.length > 3 && file.len > 150_000)
        assert.doesNotMatch(await dump(name), /truncated/)
      }
    )
  test('from the start on: reported, the command runs', oursOnly, async () => {
    const r = await bed.w.pasta(['--config-net', '-p', '/dev/full'], ['sh', '-ec', traffic])
    assert.match(ok(r).stderr, /cannot write the capture \/dev\/full: ENOSPC/)
  })
})

test('a pipe as the capture', oursOnly, async () => {
  const lines = `mkfifo /tmp/cap; timeout 20 cat /tmp/cap > /mnt/w/p.pcap & exec ${'"$0"'} "$@"`
  const options = [...quietPorts, '--config-net', '-p', '/tmp/cap']
  ok(await bed.w.run(['sh', '-c', lines, pasta, ...options, '--', 'sh', '-ec', traffic]))
  await bed.w.sh('chmod 644 /mnt/w/p.pcap')
  assert.match(await dump('p.pcap'), /7003/)
})

test('client and capture agree on the octets', oursOnly, async () => {
  const got = await client(bed.w, ['tcp-get', net.world4, 7003, 50_000], ['-p', '/mnt/w/o.pcap'])
  assert.equal(got.octets, 50_000)
  const text = await dump('o.pcap')
  const seen = [...text.matchAll(/3\.7003 > .*length (\d+)$/gm)].reduce((n, m) => n + Number(m[1]), 0)
  assert.ok(seen >= 50_000, text)
})
