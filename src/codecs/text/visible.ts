// What others wrote (names of interfaces, a guest's, a server's words) for a terminal: nothing in it moves the cursor or turns the reading
// direction.

/** One character for each that would do more than be seen, line ends among them: columns stay what they are. */
export const visible = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?')
/** The same, of a text of several lines. */
export const visibleLines = (text: string): string => text.split('\n').map(visible).join('\n')
