{
  'variables': {
    # No C++ runtime to be found at the start, which LD_LIBRARY_PATH of a caller may lead to another one; some systems have none to
    # link with (Fedora: package libstdc++-static)
    'own_runtime': [ '<!@(echo "int main(){}" | g++ -x c++ - -static-libstdc++ -static-libgcc -o /dev/null 2> /dev/null && echo -static-libstdc++ -static-libgcc || true)' ]
  },
  'targets': [
    {
      # The programs bin/passt and bin/pasta: starts the engine, keeps the namespaces (native/launcher/main.cc)
      'target_name': 'passt-launcher',
      'type': 'executable',
      'sources': [
        'native/common/netlink.cc',
        'native/common/outfile.cc',
        'native/common/unixsocket.cc',
        'native/launcher/agent.cc',
        'native/launcher/apiprocess.cc',
        'native/launcher/command.cc',
        'native/launcher/configure.cc',
        'native/launcher/confine.cc',
        'native/launcher/control.cc',
        'native/launcher/earlytap.cc',
        'native/launcher/emptyroot.cc',
        'native/launcher/guard.cc',
        'native/launcher/helper.cc',
        'native/launcher/identity.cc',
        'native/launcher/main.cc',
        'native/launcher/names.cc',
        'native/launcher/notify.cc',
        'native/launcher/namespace.cc',
        'native/launcher/node.cc',
        'native/launcher/requests.cc',
        'native/launcher/resolver.cc',
        'native/launcher/rights.cc',
        'native/launcher/snapshot.cc',
        'native/launcher/sockets.cc',
        'native/launcher/spawn.cc',
        'native/launcher/tap.cc',
        'native/launcher/taphelper.cc',
        'native/launcher/unixpath.cc',
        'native/launcher/userns.cc',
        'native/launcher/util.cc'
      ],
      'defines': [ 'NODE_PATH="<!(node -p process.execPath)"', '_GNU_SOURCE' ],
      'cflags_cc!': [ '-std=gnu++14', '-std=gnu++17', '-std=gnu++20' ],
      'cflags_cc': [ '-std=gnu++17', '-Wall', '-Wextra', '-O2', '-fno-exceptions', '-fno-rtti' ],
      'include_dirs!': [ '<(node_root_dir)/include/node' ],
      'ldflags': [ '<@(own_runtime)' ]
    },
    {
      # Says what a snapshot of the engine depends on (native/launcher/snapshot.h): for scripts/run.mjs
      'target_name': 'passt-stamp',
      'type': 'executable',
      'sources': [ 'native/launcher/snapshot.cc', 'native/launcher/stamp.cc' ],
      'defines': [ '_GNU_SOURCE' ],
      'cflags_cc!': [ '-std=gnu++14', '-std=gnu++17', '-std=gnu++20' ],
      'cflags_cc': [ '-std=gnu++17', '-Wall', '-Wextra', '-O2', '-fno-exceptions', '-fno-rtti' ],
      'include_dirs!': [ '<(node_root_dir)/include/node' ]
    },
    {
      # bin/qrap: gives QEMU older than 7.2 a socket to passt (native/qrap/main.cc)
      'target_name': 'qrap',
      'type': 'executable',
      'sources': [
        'native/launcher/util.cc',
        'native/qrap/apart.cc',
        'native/qrap/args.cc',
        'native/qrap/main.cc',
        'native/qrap/probe.cc'
      ],
      'defines': [ '_GNU_SOURCE' ],
      'cflags_cc!': [ '-std=gnu++14', '-std=gnu++17', '-std=gnu++20' ],
      'cflags_cc': [ '-std=gnu++17', '-Wall', '-Wextra', '-O2', '-fno-exceptions', '-fno-rtti' ],
      'include_dirs!': [ '<(node_root_dir)/include/node' ],
      'ldflags': [ '<@(own_runtime)' ]
    },
    {
      # bin/passt-repair: sets TCP_REPAIR for a passt whose guest moves (native/repair/main.cc)
      'target_name': 'passt-repair',
      'type': 'executable',
      'sources': [
        'native/launcher/rights.cc',
        'native/launcher/util.cc',
        'native/repair/find.cc',
        'native/repair/main.cc',
        'native/repair/serve.cc'
      ],
      'defines': [ '_GNU_SOURCE' ],
      'cflags_cc!': [ '-std=gnu++14', '-std=gnu++17', '-std=gnu++20' ],
      'cflags_cc': [ '-std=gnu++17', '-Wall', '-Wextra', '-O2', '-fno-exceptions', '-fno-rtti' ],
      'include_dirs!': [ '<(node_root_dir)/include/node' ],
      'ldflags': [ '<@(own_runtime)' ]
    },
    {
      # The addon that the engine loads: build/Release/passt.node (native/addon/engine.h)
      'target_name': 'passt',
      'sources': [
        'native/addon/addon.cc',
        'native/addon/checksum.cc',
        'native/addon/clients.cc',
        'native/addon/coalesce.cc',
        'native/addon/ctl.cc',
        'native/addon/errqueue.cc',
        'native/addon/frame.cc',
        'native/addon/conf.cc',
        'native/addon/handover.cc',
        'native/addon/headers.cc',
        'native/addon/isolate.cc',
        'native/addon/link.cc',
        'native/addon/listen.cc',
        'native/addon/logging.cc',
        'native/addon/migrate/freeze.cc',
        'native/addon/migrate/migration.cc',
        'native/addon/migrate/repair.cc',
        'native/addon/migrate/restore.cc',
        'native/addon/migrate/statepipe.cc',
        'native/addon/hostwatch.cc',
        'native/addon/notify.cc',
        'native/addon/open.cc',
        'native/addon/nspool.cc',
        'native/addon/pcap.cc',
        'native/addon/peek.cc',
        'native/addon/pending.cc',
        'native/addon/pipes.cc',
        'native/addon/rings.cc',
        'native/addon/seccomp.cc',
        'native/addon/send.cc',
        'native/addon/ports.cc',
        'native/addon/sock.cc',
        'native/addon/splice.cc',
        'native/addon/table.cc',
        'native/addon/tap.cc',
        'native/addon/tapport.cc',
        'native/addon/tcp.cc',
        'native/addon/turn.cc',
        'native/addon/udp.cc',
        'native/addon/udp_recv.cc',
        'native/addon/vhost/channel.cc',
        'native/addon/vhost/memory.cc',
        'native/addon/vhost/outside.cc',
        'native/addon/vhost/port.cc',
        'native/addon/vhost/vhost.cc',
        'native/addon/vhost/vring.cc',
        'native/common/netlink.cc',
        'native/common/outfile.cc',
        'native/common/unixsocket.cc'
      ],
      'defines': [ 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NAPI_VERSION=8', '_GNU_SOURCE' ],
      'include_dirs': [ 'node_modules/node-addon-api' ],
      'cflags_cc!': [ '-std=gnu++14', '-std=gnu++17', '-std=gnu++20', '-fno-exceptions' ],
      'cflags_cc': [ '-std=gnu++17', '-Wall', '-Wextra', '-O3', '-fno-exceptions', '-fno-rtti' ]
    }
  ]
}
