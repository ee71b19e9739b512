import { writeSync } from 'node:fs'

/**
 * All of `text` to standard output (1) or error (2), also into a pipe that is full. Who reads no further, as head(1) does, has had enough: that is
 * no fault. Throws what else write(2) says.
 */
export const print = (fd: 1 | 2, text: string): void => {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; )
    try {
      at += writeSync(fd, bytes, at)
    } catch (e) {
      const { code } = e as NodeJS.ErrnoException
      if (code === 'EPIPE') return
      if (code !== 'EAGAIN') throw e
    }
}
