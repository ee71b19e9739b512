// What comes with the programs: completions in the shells that they are for, manual pages in a formatter, an installation.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { repo } from './lib/world.js'

const dir = mkdtempSync(join(tmpdir(), 'completions-'))
after(() => rmSync(dir, { recursive: true, force: true }))
writeFileSync(join(dir, 'file one.log'), '')
mkdirSync(join(dir, 'folder'))

const run = (argv: ReadonlyArray<string>, input = ''): string => {
  const r = spawnSync(argv[0]!, argv.slice(1), {
    cwd: dir,
    input,
    encoding: 'utf8',
    timeout: 30_000,
    env: {
      PATH: `${join(repo, 'bin')}:${process.env.PATH ?? '/usr/bin:/bin'}`,
      HOME: dir,
      LANG: 'C.UTF-8',
      TERM: 'dumb'
    }
  })
  assert.equal(r.status, 0, `${argv.join(' ')}: ${r.error?.message ?? ''}${r.stderr}${r.stdout}`)
  assert.equal(r.stderr, '')
  return r.stdout
}
const lines = (text: string): string[] => text.split('\n').filter((l) => l !== '')

describe('bash', () => {
  const script = (mode: string) => join(repo, 'completions/bash', mode)
  /** What is offered for the last of `words`, which readline has cut as it does at = and :. */
  const offered = (mode: string, ...words: string[]): string[] =>
    lines(
      run([
        'bash',
        '--norc',
        '-c',
        // outside of readline there is no completion whose options could be set
        `compopt() { :; }; . "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _$1; printf '%s\\n' "\${COMPREPLY[@]}"`,
        '-',
        script(mode),
        mode,
        ...words
      ])
    )
  test('is valid, and registers itself', () => {
    for (const mode of ['passt', 'pasta', 'pesto', 'passt-ctl'])
      assert.equal(
        run(['bash', '--norc', '-c', `. '${script(mode)}'; complete -p ${mode}`]),
        `complete -F _${mode} ${mode}\n`
      )
  })
  test('options', () => {
    assert.deepEqual(offered('pasta', '--config'), ['--config-net'])
    assert.deepEqual(offered('passt', '--config'), [])
    assert.deepEqual(offered('passt', '--sock'), ['--socket', '--socket-path'])
    assert.ok(offered('pasta', '-').length > 70)
    assert.deepEqual(offered('pasta', '--config-net', '-4', '--spl'), ['--splice-only'])
  })
  test('arguments', () => {
    assert.deepEqual(offered('pasta', '-t', ''), ['none', 'auto', 'all'])
    assert.deepEqual(offered('passt', '-t', ''), ['none', 'all'])
    assert.deepEqual(offered('pasta', '--dns', '=', 'n'), ['none'])
    assert.deepEqual(offered('pasta', '--dns', '='), ['none'])
    assert.deepEqual(offered('pasta', '--log-file', '=', 'file'), ['file one.log'])
    assert.deepEqual(offered('pasta', '-l', 'fo'), ['folder'])
    assert.deepEqual(offered('pasta', '-i', 'l'), ['lo'])
    assert.deepEqual(offered('pasta', '--runas', 'nobod'), ['nobody'])
    assert.deepEqual(offered('pasta', '-m', ''), [])
    assert.deepEqual(offered('pasta', '-a', 'fe80', '::', '1', '--conf'), ['--conf-path', '--config-net'])
    assert.deepEqual(offered('pasta', '-t', '22', ':', ''), [])
    assert.deepEqual(offered('pesto', '-A', '-C', ''), ['HOST', 'SPLICE'])
    assert.deepEqual(offered('pesto', '-A', '-t', '22', 'fo'), ['folder'])
    assert.deepEqual(offered('pesto', '-A', '-t', '22', '--tcp-p'), ['--tcp-ports'])
  })
  test('a command, and what is behind it', () => {
    assert.ok(offered('pasta', '--config-net', 'unshar').includes('unshare'))
    assert.ok(offered('pasta', '--', 'unshar').includes('unshare'))
    assert.deepEqual(offered('pasta', 'cat', 'fo'), ['folder'])
    assert.deepEqual(offered('pasta', 'cat', '--conf'), [])
    assert.deepEqual(offered('passt', 'unshar'), [])
  })
  test('passt-ctl: a command, a path, and what may stand behind it', () => {
    const ctl = (...words: string[]): string[] => offered('passt-ctl', ...words)
    assert.deepEqual(ctl('fl'), ['flows'])
    assert.deepEqual(ctl('--v'), ['--version'])
    assert.deepEqual(ctl('flows', 'fo'), ['folder'])
    assert.deepEqual(ctl('flows', 'folder', 'k'), ['kind='])
    assert.deepEqual(ctl('flows', 'folder', 'kind', '=', 'tcp'), ['tcp', 'tcp-splice'])
    assert.equal(ctl('flows', 'folder', 'kind', '=').length, 5)
    assert.deepEqual(ctl('flows', 'folder', 'port', '='), [])
    assert.deepEqual(ctl('rules', 'ad'), ['add'])
    assert.deepEqual(ctl('rules', 'add', 'fo'), ['folder'])
    assert.deepEqual(ctl('rules', 'add', 'folder', ''), ['-t', '-u', '-T', '-U'])
    assert.deepEqual(ctl('rules', 'add', 'folder', '-t', ''), [])
    assert.deepEqual(ctl('rules', 'folder', ''), ['--json'])
    assert.deepEqual(ctl('trace', 'folder', 'flows', 'p'), ['packets', 'port='])
    assert.deepEqual(ctl('metrics', 'folder', ''), [])
  })
})

describe('fish', () => {
  const offered = (line: string): string[] =>
    lines(
      run([
        'fish',
        '--no-config',
        '-c',
        `set -p fish_complete_path '${repo}/completions/fish'; complete -C "$argv"`,
        line
      ])
    ).map((l) => l.split('\t')[0]!)
  test('is valid', () => {
    for (const mode of ['passt', 'pasta', 'pesto', 'passt-ctl'])
      run(['fish', '--no-execute', join(repo, `completions/fish/${mode}.fish`)])
  })
  test('options, arguments, commands', () => {
    assert.deepEqual(offered('pasta --config'), ['--config-net'])
    assert.deepEqual(offered('passt --config'), [])
    assert.deepEqual(offered('pasta -t ').sort(), ['all', 'auto', 'none'])
    assert.ok(
      offered('pasta --log-file fi').some((l) => l.includes('file one.log') || l.includes('file\\ one.log'))
    )
    assert.deepEqual(offered('pasta --config-net -t 22 unshar'), ['unshare'])
    assert.deepEqual(offered('passt-ctl fl'), ['flows'])
    assert.ok(offered('passt-ctl rules ').includes('delete'))
    assert.ok(offered('passt-ctl rules add fo').some((l) => l.startsWith('folder')))
    assert.deepEqual(offered('passt-ctl trace folder pa'), ['packets'])
    assert.deepEqual(offered('passt-ctl flows folder kind=u'), ['kind=udp', 'kind=udp-splice'])
    assert.deepEqual(offered('passt-ctl rules add folder --'), [])
  })
})

describe('zsh', () => {
  const functions = join(repo, 'completions/zsh')
  test('is valid, and registers itself', () => {
    for (const mode of ['passt', 'pasta', 'pesto', 'passt-ctl']) {
      run(['zsh', '-f', '-n', join(functions, `_${mode}`)])
      const load = `fpath=('${functions}' $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[${mode}]`
      assert.equal(run(['zsh', '-f', '-c', load]), `_${mode}\n`)
    }
  })
  /** What a terminal shows when the Tab key is pressed behind `line`, in a shell of its own. */
  const shown = (line: string): string =>
    run([
      'zsh',
      '-f',
      '-c',
      `zmodload zsh/zpty
zpty -b inner zsh -f -i
put() { zpty -w -n inner "$1"; }
await() { local got all=; repeat 400; do if zpty -r -t inner got; then all+=$got; [[ $all == *$1* ]] && break; else sleep 0.02; fi; done; print -r -- $all; }
put $'PS1=; TERM=dumb; stty columns 200; unsetopt prompt_cr prompt_sp; fpath=(${functions} $fpath); autoload -Uz compinit; compinit -D -u\\n'
put $'zstyle ":completion:*" list-prompt ""; LISTMAX=0; done-marker() { zle -M "done"mark; }; zle -N done-marker; bindkey "^X" done-marker; print rea""dy\\n'
await ready > /dev/null
put "$1"$'\\t\\x18'
await donemark
zpty -d inner`,
      '-',
      line
    ])
  test('options and arguments, as a terminal shows them', () => {
    assert.match(shown('pasta --config'), /--config-net/)
    assert.match(shown('pasta --log-file=fold'), /folder/)
    assert.match(shown('pasta --config-net unshar'), /unshare/)
    assert.match(shown('passt-ctl coun'), /counters/)
    assert.match(shown('passt-ctl rules add fo'), /folder/)
    assert.match(shown('passt-ctl trace folder pac'), /packets/)
  })
})

describe('manual pages', () => {
  for (const mode of [
    ...['passt', 'pasta', 'qrap', 'passt-repair', 'passt-replay', 'passt-judge', 'pesto'],
    'passt-ctl'
  ]) {
    const file = join(repo, 'man', `${mode}.1`)
    test(`${mode}(1): without complaint, and read by man(1)'s formatter`, () => {
      // what else is installed here does not matter
      assert.equal(run(['mandoc', '-T', 'lint', '-W', 'warning', file]), '')
      assert.match(
        run(['mandoc', '-T', 'utf8', '-O', 'width=100', file]),
        new RegExp(`${mode.toUpperCase()}\\(1\\)`)
      )
    })
  }
})

test('an installation: programs run through their links, everything is where it is looked for', () => {
  const prefix = join(dir, 'prefix')
  const install = () => run([process.execPath, join(repo, 'scripts/install-system.mjs'), '--prefix', prefix])
  mkdirSync(join(repo, 'dist/api-docs'), { recursive: true }) // as `npm run api-docs` leaves it
  install()
  assert.ok(!existsSync(join(prefix, 'lib/passt-ts/dist/api-docs')), 'pages are not installed')
  install() // over itself
  for (const mode of ['passt', 'pasta'])
    assert.match(run([join(prefix, 'bin', mode), '--version']), new RegExp(`^${mode} \\d`))
  for (const program of ['passt-judge', 'pesto', 'passt-ctl'])
    assert.match(run([join(prefix, 'bin', program), '--version']), new RegExp(`^${program} \\d`))
  const command = 'unshare --net "$1" --runas nobody --splice-only -- ls /sys/class/net'
  assert.match(run(['sh', '-c', command, '-', join(prefix, 'bin/pasta')]), /lo/)
  for (const file of [
    'man/man1/passt.1',
    'man/man1/pasta.1',
    'man/man1/qrap.1',
    'man/man1/passt-repair.1',
    'man/man1/passt-replay.1',
    'man/man1/passt-judge.1',
    'man/man1/pesto.1',
    'man/man1/passt-ctl.1',
    'bash-completion/completions/pasta',
    'zsh/site-functions/_passt',
    'fish/vendor_completions.d/pasta.fish'
  ])
    assert.ok(existsSync(join(prefix, 'share', file)), file)
})
