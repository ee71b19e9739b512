// Names of the options that the manual passt(1) of 2025-12-09 describes, by its three lists; ARG: with an argument.
// A fact about what we are compatible with, not our table: options of newer releases are not in it.

export type Section = 'both' | 'passt' | 'pasta'
export interface ManualOption {
  readonly section: Section
  /** With dashes, sorted. */
  readonly names: ReadonlyArray<string>
  readonly takesArgument: boolean
  readonly deprecated: boolean
}

const LISTS: Readonly<Record<Section, string>> = {
  both: `
    -d, --debug
    --trace
    --stats ARG
    -q, --quiet
    -f, --foreground
    -e, --stderr (DEPRECATED)
    -l, --log-file ARG
    --log-size ARG
    --runas ARG
    -h, --help
    --version
    -p, --pcap ARG
    -P, --pid ARG
    -m, --mtu ARG
    -a, --address ARG
    -n, --netmask ARG
    -M, --mac-addr ARG
    -g, --gateway ARG
    -i, --interface ARG
    -o, --outbound ARG
    --outbound-if4 ARG
    --outbound-if6 ARG
    -D, --dns ARG
    --dns-forward ARG
    --dns-host ARG
    -S, --search ARG
    --no-dhcp-dns
    --dhcp-dns
    --no-dhcp-search
    --dhcp-search
    --no-tcp
    --no-udp
    --no-icmp
    --no-dhcp
    --no-ndp
    --no-dhcpv6
    --no-ra
    --freebind
    --map-host-loopback ARG
    --no-map-gw
    --map-guest-addr ARG
    -4, --ipv4-only
    -6, --ipv6-only
    -H, --hostname ARG
    --fqdn ARG`,
  passt: `
    -s, --socket-path, --socket ARG
    --vhost-user
    --print-capabilities
    --repair-path ARG
    --migrate-exit (DEPRECATED)
    --migrate-no-linger (DEPRECATED)
    -F, --fd ARG
    -1, --one-off
    -t, --tcp-ports ARG
    -u, --udp-ports ARG`,
  pasta: `
    -I, --ns-ifname ARG
    -t, --tcp-ports ARG
    -u, --udp-ports ARG
    -T, --tcp-ns ARG
    -U, --udp-ns ARG
    --host-lo-to-ns-lo
    --userns ARG
    --netns ARG
    --netns-only
    --no-netns-quit
    --config-net
    --no-copy-routes (DEPRECATED)
    --no-copy-addrs (DEPRECATED)
    --ns-mac-addr ARG
    --no-splice`
}

/** `-x, --long, --alias ARGUMENT (DEPRECATED)`; the blank in front of the parenthesis may be missing. */
export const readOption =
  (section: Section) =>
  (text: string): ManualOption => {
    const deprecated = text.includes('(DEPRECATED)')
    const [names = '', argument] = text
      .replace(/\(DEPRECATED\)/, '')
      .trim()
      .split(/(?<!,) /)
    return { section, names: names.split(', ').sort(), takesArgument: argument !== undefined, deprecated }
  }

export const MANUAL: ReadonlyArray<ManualOption> = (['both', 'passt', 'pasta'] as const).flatMap((section) =>
  LISTS[section]
    .split('\n')
    .map((l) => l.trim())
    .filter((l) => l !== '')
    .map(readOption(section))
)

/** The options in the text of the manual itself, as man(1) shows it: headings are indented by 7, lists by 3. */
export const optionsOfManual = (text: string): ReadonlyArray<ManualOption> => {
  const part = /^OPTIONS$(.*?)^[A-Z]/ms.exec(text)?.[1] ?? ''
  let section: Section = 'both'
  const found: ManualOption[] = []
  for (const line of part.split('\n')) {
    if (/^ {3}passt-only/.test(line)) section = 'passt'
    if (/^ {3}pasta-only/.test(line)) section = 'pasta'
    const heading = /^ {7}(-.*)$/.exec(line)?.[1]
    if (heading !== undefined) found.push(readOption(section)(heading))
  }
  return found
}
