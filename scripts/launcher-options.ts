import { join } from 'node:path'
import { OPTION_TABLE, type OptionEntry } from '../src/runtime/cli/option-table.js'
import { type Generated, mainOf, ROOT } from './generated.js'

// The option table for getopt_long(3): what the launcher knows of the command line (native/launcher/earlytap.h).

const constant = (e: OptionEntry): string => `OPT_${e.id.toUpperCase().replaceAll('-', '_')}`
const letters = OPTION_TABLE.flatMap((e) =>
  e.short === null ? [] : [`${e.short}${e.takesArgument ? ':' : ''}`]
)

/** An option's value is its letter; those without one count from behind all letters. */
const values = (): ReadonlyArray<string> => [
  ...OPTION_TABLE.filter((e) => e.short === null).map((e, i) => `${constant(e)}${i === 0 ? ' = 256' : ''},`),
  ...OPTION_TABLE.flatMap((e) => (e.short === null ? [] : [`${constant(e)} = '${e.short}',`]))
]

/** `+`: up to the first argument that is no option. */
export const header =
  (): string => `/* From src/runtime/cli/option-table.ts, by scripts/launcher-options.ts. */
#ifndef PASST_LAUNCHER_OPTIONS_H
#define PASST_LAUNCHER_OPTIONS_H

#include <getopt.h>

enum : int {
${values()
  .map((line) => `\t${line}`)
  .join('\n')}
};

static constexpr char OPTION_LETTERS[] = "+${letters.join('')}";

static constexpr option OPTION_NAMES[] = {
${OPTION_TABLE.flatMap((e) =>
  e.long.map((l) => `\t{ "${l}", ${e.takesArgument ? 'required' : 'no'}_argument, nullptr, ${constant(e)} },`)
).join('\n')}
	{ nullptr, 0, nullptr, 0 },
};

#endif
`

export const files = (): readonly Generated[] => [
  { path: join(ROOT, 'native/launcher/options.h'), text: header() }
]

mainOf(import.meta.url, files)
