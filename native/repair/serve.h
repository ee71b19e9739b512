/* What passt asks for. */
#ifndef PASST_REPAIR_SERVE_H
#define PASST_REPAIR_SERVE_H

#include "find.h"

/**
 * Carries out messages until the other side hangs up: an octet, 1 (TCP_REPAIR on), 0 (off) or -1 (off without a window probe), with
 * 1 to 253 descriptors of TCP sockets. Each is answered with the same octet once all of them are so. If one cannot be, those of
 * this message are off again, a line on standard error says why, and there is no answer.
 */
Status serve(const Fd &sock);

#endif
