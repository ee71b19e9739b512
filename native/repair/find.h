/* Finding the socket of a passt whose guest is to move. */
#ifndef PASST_REPAIR_FIND_H
#define PASST_REPAIR_FIND_H

#include "../launcher/util.h"

/** How the program ends; passt-repair(1). */
enum Status : int { ENDED = 0, FAILED = 1, USAGE = 2 };

/** `sock` is empty where `status` and a line on standard error say what is wrong. */
struct Found {
	Fd sock;
	Status status = FAILED;
};

/**
 * A connection to the socket at `path`. If that is a directory: to a socket in it whose name ends in ".repair", one that is there
 * or, however long it takes, the first one that comes.
 */
Found findPasst(const std::string &path);

#endif
