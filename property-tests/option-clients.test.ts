// The command lines of the programs that start passt and pasta (docs/drivers.md), each with values in its places.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as E from 'fp-ts/lib/Either.js'
import type { Options } from '../src/runtime/cli/option-table.js'
import type { Mode } from '../src/runtime/cli/option-types.js'
import { type CliAnswer, parseOptions } from '../src/runtime/cli/options.js'

const words = (...lines: string[]): string[] => lines.join(' ').split(/\s+/)
const parse = (mode: Mode, argv: ReadonlyArray<string>): CliAnswer => {
  const r = parseOptions(mode, argv)
  assert.ok(E.isRight(r), E.isLeft(r) ? r.left.message : '')
  return r.right
}
const accepted = (mode: Mode, argv: ReadonlyArray<string>): Options => {
  const answer = parse(mode, argv)
  assert.ok(answer.tag === 'Run')
  return answer.options
}

const PASTA: Readonly<Record<string, string[]>> = {
  'Podman, published ports': words(
    '--config-net -t 127.0.0.1/8080-8081:80-81 -u 5353-5353:53-53 --dns-forward 169.254.1.1 -T none -U none --no-map-gw',
    '--quiet --netns /run/user/1000/netns/netns-1 --map-guest-addr 169.254.1.2'
  ),
  'Podman, bridge with control socket': words(
    '--config-net --pid /run/user/1000/pasta.pid -c /run/user/1000/pasta.sock --dns-forward 169.254.1.1 -t none -u none -T none',
    '-U none --no-map-gw --quiet --netns /run/user/1000/netns/rootless --map-guest-addr 169.254.1.2'
  ),
  'Podman, with options of containers.conf': words(
    '--config-net -a 10.1.2.3 -n 24 -g 10.1.2.1 -a fd00::2 -g fd00::1 -m 1500 -4 -i eth0 --ns-mac-addr 9a:dd:31:ea:92:98 -T 80',
    '-t 198.51.100.2%eth0/8080:80 -t [2001:db8:9::2]/8080:80 -u none -U none --netns /x'
  ),
  RootlessKit: words(
    '--stderr --ns-ifname=tap0 --mtu=65520 --config-net --address=10.0.2.100 --netmask=24 --gateway=10.0.2.2',
    '--dns-forward=10.0.2.3 --no-map-gw --ipv4-only --tcp-ports=auto --udp-ports=auto --host-lo-to-ns-lo 4711'
  ),
  'RootlessKit, detached namespace': words(
    '--stderr --ns-ifname=tap0 --mtu=65520 --config-net --address=10.0.2.100 --netmask=24 --gateway=10.0.2.2',
    '--dns-forward=10.0.2.3 --tcp-ports=none --udp-ports=none --userns=/proc/4711/ns/user --netns=/run/user/1000/netns/x'
  ),
  nsjail: words(
    '-f -q --no-dhcp --no-dhcpv6 --no-ra --config-net --dhcp-dns --dns-forward 10.0.2.3 --no-icmp --no-map-gw -a 10.0.2.1',
    '-n 24 -g 10.0.2.2 -4 -I tap0 -t none -u none -T none -U none --splice-only 4711'
  ),
  'nsjail, nothing but UDP': words('-f -q --no-tcp --no-udp --no-icmp -t none -u none -T none -U none 4711'),
  Lix: words(
    '--quiet --foreground --config-net --gateway 10.0.2.2 --address 10.0.2.1 --netmask 255.255.255.0 --dns-forward 10.0.2.3',
    '--gateway fd00::2 --address fd00::1 --dns-forward fd00::3 --ns-ifname eth0 --no-netns-quit --netns /proc/self/fd/9',
    '--userns /proc/self/fd/8'
  ),
  'sandbox, proxy only': words(
    '-q -f --runas 1000:1000 --splice-only -t none -u none -T 3128 -U none -- bwrap --ro-bind / / -- sh'
  ),
  'sandbox, mapped ports': words('--splice-only -T 3128:13128 -U 53:1053 true'),
  'sandbox, addresses': words(
    '--config-net -a 10.0.2.0 -n 24 -g 10.0.2.2 --dns-forward 10.0.2.3 -t none -u none -- unshare -r sh'
  )
}

const PASST: Readonly<Record<string, string[]>> = {
  libvirt: words(
    '--one-off --socket /run/libvirt/qemu/passt/1-net0.socket --mac-addr 52:54:00:12:34:56 --mtu 1500 --interface eth0',
    '--log-file /var/log/passt.log --pid /run/passt.pid --address 192.0.2.5 --netmask 24 --address 2001:db8::5',
    '--tcp-ports 192.0.2.1%eth0/all --udp-ports ~15001,80-90:8080-8090'
  ),
  'QEMU -netdev passt': words(
    '--quiet --mtu 1500 --address 192.0.2.5 --netmask 24 --mac-addr 52:54:00:12:34:56 --gateway 192.0.2.1 --interface eth0',
    '--outbound 192.0.2.9 --outbound-if4 eth0 --outbound-if6 eth0 --dns 192.0.2.53 --fqdn a.example --no-dhcp-dns',
    '--no-dhcp-search --map-host-loopback 192.0.2.2 --map-guest-addr 192.0.2.3 --dns-forward 192.0.2.4 --dns-host 127.0.0.1',
    '--no-icmp --no-dhcp --no-ndp --no-dhcpv6 --no-ra --freebind --ipv4-only --tcp-ports 22,80 --udp-ports 53,69',
    '--pid /tmp/x.pid --fd 3'
  ),
  KubeVirt: words(
    '--vhost-user --socket /x --log-file /var/run/kubevirt/passt.log --interface eth0 --tcp-ports all,~15000,~15001',
    '--udp-ports all --repair-path /x.repair'
  ),
  libguestfs: words(
    '--one-off --socket /x --pid /y --address 169.254.2.15 --netmask 16 --mac-addr 52:56:00:00:00:02 --gateway 169.254.2.2'
  ),
  muvm: words('-q -f --fd 12 -t 127.0.0.1/8000-8001:80-81 -u 53'),
  'libkrun, krunvm': words('-f --fd 12'),
  'crun, krun handler': words('-t all -u all --no-dhcp-dns --no-map-gw --fd 12'),
  'qemus, dockur': words(
    '-4 -a 172.17.0.2 -g 172.17.0.1 -n 255.255.0.0 -m 1500 -t 22 -u 53 -H dockerlinux -M 02:42:ac:11:00:01 --runas 0:0',
    '-P /run/passt.pid -s /run/passt.socket -l /run/passt.log -q'
  ),
  'avocado-vt': words('--one-off --socket /x --tcp-ports 22:22 --udp-ports 53')
}

describe('accepted, with every option told apart', () => {
  for (const [mode, clients] of [
    ['pasta', PASTA],
    ['passt', PASST]
  ] as const)
    for (const [client, argv] of Object.entries(clients))
      test(client, () => {
        const o = accepted(mode, argv)
        assert.equal(o.mode, mode)
        const given = argv.slice(0, o.positionalsAt).filter((a) => /^-./.test(a) && a !== '--').length
        assert.equal(o.settings.length, given)
      })
  test('QEMU gives a search list in one argument', () => {
    assert.deepEqual(accepted('passt', ['--search', 'a.example b.example']).search, [
      'a.example',
      'b.example'
    ])
  })
})

describe('questions that clients ask first', () => {
  test('RootlessKit: whether an option is there', () => {
    assert.equal(parse('pasta', ['--host-lo-to-ns-lo', '--version']).tag, 'Print')
  })
  test('libguestfs, sandboxes: --help', () => {
    const help = (mode: Mode): string => {
      const answer = parse(mode, ['--help'])
      return answer.tag === 'Print' ? answer.text : ''
    }
    assert.match(help('passt'), /--one-off/)
    assert.match(help('pasta'), /--splice-only/)
  })
  test('Podman: whether a refusal is about --map-guest-addr', () => {
    const r = parseOptions('pasta', ['--map-guest-addrs', 'x'])
    assert.match(E.isLeft(r) ? r.left.message : '', /^unrecognized option '--map-guest-addr/)
  })
})
