/* passt-stamp NODE BLOB: the stamp for that snapshot, made by that Node here and now, on standard output (snapshot.h). */
#include "snapshot.h"

#include <cstdio>

int main(int argc, char **argv)
{
	const std::string stamp = argc == 3 ? stampOf(argv[1], argv[2]) : "";
	return stamp.empty() || fputs(stamp.c_str(), stdout) < 0 || fflush(stdout) ? 1 : 0;
}
