/* passt-stamp NODE: the stamp for a snapshot made by that Node here and now, on standard output (snapshot.h). */
#include "snapshot.h"

#include <cstdio>

int main(int argc, char **argv)
{
	const std::string stamp = argc == 2 ? stampOf(argv[1]) : "";
	return stamp.empty() || fputs(stamp.c_str(), stdout) < 0 || fflush(stdout) ? 1 : 0;
}
