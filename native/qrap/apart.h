/* The search for a passt, in a process of its own that is filtered: who answers may be anybody, and QEMU must not inherit a filter. */
#ifndef PASST_QRAP_APART_H
#define PASST_QRAP_APART_H

#include "../launcher/util.h"

/** findPasst() from there; an empty one: it has said why. */
Fd findPasstApart();

#endif
