/* A library that a hostile environment brings along (environment.test.ts): says into which program it was loaded, by a line with that
 * one's arguments in /mnt/w/stowaway. */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded()
{
	char text[4096];
	const int from = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = from < 0 ? 0 : read(from, text, sizeof(text) - 1);
	if (n < 0)
		n = 0;
	for (ssize_t i = 0; i < n; i++)
		if (text[i] < ' ')
			text[i] = ' ';
	text[n++] = '\n';
	const int fd = open("/mnt/w/stowaway", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	(void)!write(fd, text, static_cast<size_t>(n));
	close(fd);
	close(from);
}
