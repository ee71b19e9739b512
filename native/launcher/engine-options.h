/* Options for Node itself, before the engine's file; scripts/run.mjs reads them here, since a snapshot must be made with
 * the same ones. One thread does all the work: helpers for compilation and garbage collection cost more in wake-ups than
 * they save (17 to 14 us of CPU a TCP round trip). A small young generation keeps its collections short, and 10 MB off the
 * resident set. Less inlining than usual: the longest compilation, and so the longest pause, takes 6 ms instead of 17, and
 * what comes out is as fast. src/runtime/engine/collect-when-calm.ts asks for collections itself. Node would still start four threads
 * that wait for such work, and never get any: it takes one at least. Any Node from 20 on must know them all, or it does
 * not start. */
#define ENGINE_OPTIONS "--single-threaded", "--max-semi-space-size=4", "--expose-gc", "--max-inlined-bytecode-size-cumulative=300", "--v8-pool-size=1"

/* All that the engine's environment has. What a caller's says is for the caller's own programs: it would load libraries (LD_*,
 * OPENSSL_CONF) into a process that may hold capabilities, or change how Node, V8's memory and the C library work (NODE_*, UV_*, MALLOC_*,
 * GLIBC_TUNABLES, TZ). PATH is for a script that PASST_NODE names;
 * PASST_WARM_UP=no spares the warm-up (docs/architecture.md).
 * What is off in Node: OpenSSL's configuration, the system's as well, of which nothing here makes use; io_uring, which keeps threads in
 * the kernel that no filter of system calls sees; its inspector, by confine.h. Options come from the list above alone.
 * LISTEN_FDS and LISTEN_FDNAMES are there where they are meant for us, who take them from the command (node.cc): a list of names. */
#define ENGINE_ALLOWED "PATH", "PASST_WARM_UP"
#define ENGINE_ENVIRONMENT "OPENSSL_CONF=/dev/null", "UV_USE_IO_URING=0"
/* With a report of errors (protocol.h, ERROR_FD). */
#define ENGINE_REPORTS "PASST_ERROR_FD=4"
