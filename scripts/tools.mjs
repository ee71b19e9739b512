#!/usr/bin/env node
// The programs that the integration tests drive, and the Debian packages that hold them. Installs what is missing when it
// may (root and apt-get); otherwise names what is missing and fails. A test is never skipped for want of a tool.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { join } from 'node:path'
import { fetchGuest } from './guest.mjs'

/** program -> package */
const tools = {
  bash: 'bash',
  busybox: 'busybox',
  'chromium-headless-shell': 'chromium-headless-shell',
  'clang++': 'clang',
  curl: 'curl',
  dhclient: 'isc-dhcp-client',
  dnsmasq: 'dnsmasq-base',
  ethtool: 'ethtool',
  fish: 'fish',
  'g++': 'g++',
  ip: 'iproute2',
  iperf3: 'iperf3',
  mandoc: 'mandoc',
  mount: 'mount',
  nc: 'netcat-openbsd',
  nsenter: 'util-linux',
  patchelf: 'patchelf',
  ping: 'iputils-ping',
  ps: 'procps',
  python3: 'python3',
  ...(process.arch === 'x64' ? { 'qemu-system-x86_64': 'qemu-system-x86' } : {}),
  setcap: 'libcap2-bin',
  setpriv: 'util-linux',
  socat: 'socat',
  ss: 'iproute2',
  strace: 'strace',
  sysctl: 'procps',
  tcpdump: 'tcpdump',
  traceroute: 'traceroute',
  unshare: 'util-linux',
  zsh: 'zsh'
}
const path = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`.split(
  ':'
)
const present = (name) =>
  path.some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK)
      return dir !== ''
    } catch {
      return false
    }
  })
/** Debian comes with busybox (no DHCP client) or with one of the builds that have udhcpc. */
const hasUdhcpc = () =>
  spawnSync('busybox', ['--list'], { encoding: 'utf8' }).stdout?.includes('udhcpc') ?? false
/** What the fuzz targets are linked to (fuzz/Makefile). */
const hasLibFuzzer = () => {
  const name = `libclang_rt.fuzzer_no_main-${process.arch === 'x64' ? 'x86_64' : 'aarch64'}.a`
  const path = spawnSync('clang++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout?.trim()
  return path !== undefined && existsSync(path)
}
/** Of Debian's Python, whichever comes first in PATH. */
const hasScapy = () => spawnSync('/usr/bin/python3', ['-c', 'import scapy'], { stdio: 'ignore' }).status === 0
/** A source of users besides /etc/passwd (test/identity.test.ts). */
const hasExtraUsers = () =>
  spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' }).stdout?.includes('libnss_extrausers.so.2') ??
  false
const missing = () => {
  const names = Object.keys(tools).filter((name) => !present(name))
  if (!hasLibFuzzer()) names.push('libclang-rt-dev')
  if (!hasScapy()) names.push('python3-scapy')
  if (!hasExtraUsers()) names.push('libnss-extrausers')
  if (!names.includes('busybox') && !hasUdhcpc()) names.push('udhcpc')
  return names
}

const apt = '/usr/bin/apt-get'
const mayInstall = process.getuid?.() === 0 && existsSync(apt)
const options = { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
const update = () => spawnSync(apt, ['update', '-qq'], options)

const before = missing()
if (before.length > 0) {
  const packages = [...new Set(before.map((name) => tools[name] ?? name))]
  if (mayInstall) {
    console.error(`tools: installing ${packages.join(' ')}`)
    update()
    spawnSync(apt, ['install', '-y', '-qq', '--no-install-recommends', ...packages], options)
  }
  const after = missing()
  if (after.length > 0) {
    console.error(`tools: missing ${after.join(' ')} (Debian: apt-get install ${packages.join(' ')})`)
    process.exit(1)
  }
}
if (process.getuid?.() !== 0) {
  console.error(
    'tools: the integration tests make network namespaces and a private /dev/net/tun: run them as root'
  )
  process.exit(1)
}
try {
  if (process.arch === 'x64') fetchGuest(update)
} catch (e) {
  console.error(`tools: no kernel for the tests with virtual machines: ${e.message}`)
  process.exit(1)
}
