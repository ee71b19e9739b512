/* For LD_PRELOAD: a source of user names that has none, and says so to everybody. */
#include <pwd.h>
#include <unistd.h>

extern "C" int getpwnam_r(const char *, passwd *, char *, size_t, passwd **found)
{
	for (int fd = 1; fd <= 2; fd++)
		(void)!write(fd, "chatter\n", 8);
	*found = nullptr;
	return 0;
}
