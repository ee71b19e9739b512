#include "snapshot.h"

#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

/** Features of the processor, more of them than V8 looks at: its code and its snapshots are for these. */
static std::string processor()
{
	uint32_t words[5] = {};
#if defined(__x86_64__) || defined(__i386__)
	uint32_t none[3];
	__get_cpuid(0x80000001, &none[0], &none[1], &words[4], &none[2]);
	__get_cpuid_count(7, 0, &none[0], &words[0], &words[1], &none[1]);
	__get_cpuid(1, &none[0], &none[1], &words[2], &words[3]);
	words[2] &= ~(1u << 27); // OSXSAVE follows the system, as AVX does, which stays
#else
	words[0] = static_cast<uint32_t>(getauxval(AT_HWCAP));
	words[1] = static_cast<uint32_t>(getauxval(AT_HWCAP2));
#endif
	char text[64];
	snprintf(text, sizeof(text), "%08x%08x%08x%08x%08x", words[0], words[1], words[2], words[3], words[4]);
	return text;
}

std::string stampOf(const std::string &node, const std::string &blob)
{
	struct stat st, whole;
	if (node.find('/') == std::string::npos || stat(node.c_str(), &st) < 0 || stat(blob.c_str(), &whole) < 0)
		return "";
	char text[128];
	snprintf(text, sizeof(text), "%lld %lld.%09ld %lld ", static_cast<long long>(st.st_size),
		 static_cast<long long>(st.st_mtim.tv_sec), st.st_mtim.tv_nsec, static_cast<long long>(whole.st_size));
	return text + processor() + "\n";
}

std::string snapshotFor(const std::string &dist, const std::string &node)
{
	const std::string blob = dist + "/engine.blob", wanted = stampOf(node, blob);
	const int fd = open((dist + "/engine.stamp").c_str(), O_RDONLY | O_CLOEXEC);
	char found[256];
	const ssize_t n = fd < 0 ? -1 : read(fd, found, sizeof(found));
	if (fd >= 0)
		close(fd);
	const bool fits = n > 0 && !wanted.empty() && wanted == std::string(found, static_cast<size_t>(n));
	return fits && access(blob.c_str(), R_OK) == 0 ? blob : "";
}
