{
  'targets': [
    {
      # The programs bin/passt and bin/pasta: starts the engine, keeps the namespaces (native/launcher/main.cc)
      'target_name': 'passt-launcher',
      'type': 'executable',
      'sources': [
        'native/launcher/agent.cc',
        'native/launcher/command.cc',
        'native/launcher/main.cc',
        'native/launcher/namespace.cc',
        'native/launcher/netlink.cc',
        'native/launcher/requests.cc',
        'native/launcher/spawn.cc',
        'native/launcher/tap.cc',
        'native/launcher/util.cc'
      ],
      'defines': [ 'NODE_PATH="<!(node -p process.execPath)"', '_GNU_SOURCE' ],
      'cflags_cc!': [ '-std=gnu++14', '-std=gnu++17', '-std=gnu++20' ],
      'cflags_cc': [ '-std=gnu++17', '-Wall', '-Wextra', '-O2', '-fno-exceptions', '-fno-rtti' ],
      'include_dirs!': [ '<(node_root_dir)/include/node' ]
    }
  ]
}
