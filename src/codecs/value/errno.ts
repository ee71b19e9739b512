// Linux' numbers of errno(3), as the kernel gives them to native and in netlink.

export const EPERM = 1
export const ESRCH = 3
export const EINTR = 4
export const EBADF = 9
export const EAGAIN = 11
export const ENOMEM = 12
export const EACCES = 13
export const EEXIST = 17
export const ENODEV = 19
export const EINVAL = 22
export const ENFILE = 23
export const EMFILE = 24
export const EFBIG = 27
export const ENOSPC = 28
export const ESPIPE = 29
export const ENAMETOOLONG = 36
export const EPROTO = 71
export const EBADFD = 77
export const ENOTSOCK = 88
export const EOPNOTSUPP = 95
export const EAFNOSUPPORT = 97
export const EADDRINUSE = 98
export const EADDRNOTAVAIL = 99
export const ENETDOWN = 100
export const ENETUNREACH = 101
export const ECONNRESET = 104
export const ENOBUFS = 105
export const ECONNREFUSED = 111
export const EHOSTDOWN = 112
export const EHOSTUNREACH = 113

const SHORTAGES: ReadonlySet<number> = new Set([EMFILE, ENFILE, ENOMEM, ENOBUFS])
/** Descriptors or memory have run out: it passes, and is nobody's fault in particular. */
export const isShortage = (errno: number): boolean => SHORTAGES.has(errno)
