/* Finding a passt that waits for a guest. */
#ifndef PASST_QRAP_PROBE_H
#define PASST_QRAP_PROBE_H

#include "../launcher/util.h"

/** Connects to the first of /tmp/passt_1.socket to /tmp/passt_64.socket behind which somebody answers; says which. */
Fd findPasst();

#endif
