/* Preloaded into the launcher (early-tap.test.ts): the process that attaches a tap copies its own status (proc_pid_status(5)) to
 * /mnt/w/attaching first. */
#include <asm/ioctl.h>
#include <cstdarg>
#include <cstdio>
#include <dlfcn.h>
#include <linux/if_tun.h>

extern "C" int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	va_start(args, request);
	void *const argument = va_arg(args, void *);
	va_end(args);
	if (request == TUNSETIFF) {
		FILE *const from = fopen("/proc/self/status", "re"), *const to = fopen("/mnt/w/attaching", "we");
		for (int c; from && to && (c = fgetc(from)) != EOF;)
			fputc(c, to);
		if (to)
			fclose(to);
	}
	const auto real = reinterpret_cast<int (*)(int, unsigned long, void *)>(dlsym(RTLD_NEXT, "ioctl"));
	return real(fd, request, argument);
}
