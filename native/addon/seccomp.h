/* The last door: a filter of system calls on every thread. */
#ifndef PASST_SECCOMP_H
#define PASST_SECCOMP_H

namespace passt {

/**
 * From here on no thread of this process gets more than seccomp-calls.def allows; there is no way back. Needs no_new_privs on
 * every thread (drop_privileges()).
 * Return: 0; ENOSYS where kernel or processor are without filters, so nothing has changed; another errno, which is the
 * caller's reason to exit.
 */
int seal();
/** The same for the process of the API: api-calls.def. */
int seal_api();

} // namespace passt

#endif
