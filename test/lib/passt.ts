// passt with a guest that is not a virtual machine but a network namespace, by the same options and for the same commands
// as pasta: what pasta does inside, the namespaces and --config-net, is done here.
import { compiled } from './cache.js'

/** Of the host that the guest stands for, and its gateway's (world.ts, net). */
type Addresses = Readonly<Record<'host4' | 'host6' | 'gw4' | 'gw6', string>>

/** The program under test. PASST chooses another one, for instance upstream's, to try the tests themselves. */
export const passt = process.env.PASST ?? '/mnt/repo/bin/passt'

const quoted = (words: ReadonlyArray<string>): string =>
  words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')

/** How the guest is connected: the program that is its card, and what passt has to know of it. */
export interface Link {
  readonly options: ReadonlyArray<string>
  /** Command line up to SOCKET DEVICE COMMAND. */
  readonly card: () => ReadonlyArray<string>
}
export const stream: Link = { options: ['-1'], card: () => [compiled('test/lib/tapbridge.cc')] }
/** Options of vhost-frontend.cc. */
export const vhostUser = (...options: string[]): Link => ({
  options: ['--vhost-user', ...(options.includes('--reconnect') ? [] : ['-1'])],
  card: () => [compiled('test/lib/vhost-frontend.cc'), ...options]
})
/** LINK chooses for whole test files: `vhost-user`, and behind it words for vhost-frontend.cc. */
const usual: Link = process.env.LINK?.startsWith('vhost-user')
  ? vhostUser(...process.env.LINK.split(' ').slice(1))
  : stream

/** Values of an option, in order. */
const values = (options: ReadonlyArray<string>, name: string): string[] =>
  options.filter((_, i) => options[i - 1] === name)

/**
 * passt has no --config-net, nothing to splice, and offers names unless it is told not to, where pasta offers them only on
 * demand.
 */
const passtOptions = (options: ReadonlyArray<string>): string[] => {
  const own = new Set(['--config-net', '--dhcp-dns', '--dhcp-search'])
  const unoffered = ['dns', 'search'].filter((what) => !options.includes(`--dhcp-${what}`))
  return [...options.filter((o) => !own.has(o)), ...unoffered.map((what) => `--no-dhcp-${what}`)]
}

/** Shell lines that give the guest's eth0 what DHCP, DHCPv6 and NDP would. */
export const configure = (options: ReadonlyArray<string>, net: Addresses): string => {
  const mtu = values(options, '-m').at(-1) ?? '65520'
  const addresses = values(options, '-a')
  const v4 = addresses.find((a) => !a.includes(':')) ?? net.host4
  const v6 = addresses.find((a) => a.includes(':')) ?? net.host6
  const settings = 'for s in accept_dad accept_ra; do echo 0 > /proc/sys/net/ipv6/conf/eth0/$s; done'
  const ip = [
    ...(mtu === '0' ? [] : [`ip link set eth0 mtu ${mtu}`]),
    'ip link set eth0 up',
    ...(options.includes('-6')
      ? []
      : [`ip addr add ${v4}/24 dev eth0`, `ip route add default via ${net.gw4}`]),
    ...(options.includes('-4')
      ? []
      : [`ip -6 addr add ${v6}/64 dev eth0 nodad`, `ip -6 route add default via ${net.gw6} dev eth0`])
  ]
  return [settings, ...ip].join('\n')
}

/**
 * A virtual network card stops its guest's queue when it is full, a tap drops what does not fit: by default 500 frames,
 * which a few ms without a processor fill. This holds the windows of all connections of a test.
 */
const queue = 'ip link set eth0 txqueuelen 30000'

/**
 * argv that runs `program`, a passt, with `options` and, once it is ready, `command` in a namespace behind it. Ends with
 * the command's status, or with passt's if that does not start.
 */
export const bridged = (
  program: string,
  options: ReadonlyArray<string>,
  command: ReadonlyArray<string>,
  net: Addresses,
  link: Link = usual
): string[] => {
  const setup = [
    'ip link set lo up',
    queue,
    ...(options.includes('--config-net') ? [configure(options, net)] : [])
  ]
  const namespaces = '--user --map-root-user --net --mount --pid --ipc --uts --fork --kill-child --mount-proc'
  const script = `
d=$(mktemp -d)
{ ${quoted([program, '-f', ...link.options, ...passtOptions(options)])} -s $d/socket -P $d/pid; echo $? > $d/status; } &
until [ -s $d/pid ] || [ -s $d/status ]; do sleep 0.03; done
[ ! -s $d/status ] || exit $(cat $d/status)
unshare ${namespaces} ${quoted(link.card())} $d/socket eth0 sh -ec ${quoted([`${setup.join('\n')}\nexec "$@"`])} - "$@"
status=$?
wait
rm -r $d
exit $status`
  return ['sh', '-c', script, 'passt', ...command]
}
