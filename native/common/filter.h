/* A filter of system calls (seccomp(2)), made of a list with reasons: addon/seccomp-calls.def, launcher/launcher-calls.def,
 * launcher/guard-calls.def, qrap/qrap-calls.def, repair/repair-calls.def. To be included where a filter is built, the list
 * below it in a function in which `f` is a Filter.
 *
 * ALLOW(call, why)             whatever its arguments
 * ALLOW_IF(call, tests, why)   where all tests hold: IS(argument, mask, value...), argument & mask is one of the values.
 *                              Otherwise EPERM
 * REFUSE(call, error, why)     the caller is told so and can live with it
 * KILL(call, why)              the end of the process: nothing of ours asks for it, who does has taken the process over
 *
 * What is not on a list fails with ENOSYS, as on a kernel that does not have it: libraries have another way then, or do without,
 * so a libc newer than the list goes on. */
#ifndef PASST_FILTER_H
#define PASST_FILTER_H

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif

namespace passt {

#if defined(__x86_64__)
constexpr uint32_t ARCH = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t ARCH = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t ARCH = 0;
#endif

/** `word` of the call's arguments & mask must be one of the values. */
struct Test {
	uint32_t word = 0, mask = 0;
	std::initializer_list<uint32_t> values;
};

/* Offsets in struct seccomp_data; a classic BPF program reads words of 32 bits. Both processors are little-endian. */
constexpr uint32_t CALL = offsetof(seccomp_data, nr), PROCESSOR = offsetof(seccomp_data, arch);
constexpr uint32_t argument(uint32_t n, bool high)
{
	return (uint32_t)offsetof(seccomp_data, args) + n * 8 + (high ? 4 : 0);
}

class Filter {
public:
	Filter()
	{
		load(PROCESSOR);
		/* Calls of the 32-bit kind have other numbers; those of x32 are in no row, so they are unknown below */
		unless_equal(ARCH, 1);
		give(SECCOMP_RET_KILL_PROCESS);
		load(CALL);
	}
	void row(uint32_t call, uint32_t verdict, std::initializer_list<Test> tests = {})
	{
		std::vector<sock_filter> rest;
		rest.swap(code);
		for (const Test &t : tests) {
			load(t.word);
			if (t.mask != ~0u)
				code.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, t.mask));
			/* The first value that fits skips the others and the refusal */
			auto left = (uint8_t)t.values.size();
			for (const uint32_t v : t.values)
				code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, left--, 0));
			give(SECCOMP_RET_ERRNO | EPERM);
		}
		give(verdict);
		rest.swap(code);
		code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, (uint8_t)rest.size()));
		code.insert(code.end(), rest.begin(), rest.end());
	}
	/** This verdict where the low half of an argument is `value`; otherwise later rows decide. */
	void row_where(uint32_t call, uint32_t word, uint32_t value, uint32_t verdict)
	{
		code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4));
		load(word);
		code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
		give(verdict);
		load(CALL);
	}
	/**
	 * On every thread, for good; they need no_new_privs. `otherwise`: the verdict on all that no row is about.
	 * Return: 0; ENOSYS where kernel or processor are without filters, so nothing has changed; another errno.
	 */
	int install(uint32_t otherwise = SECCOMP_RET_ERRNO | ENOSYS)
	{
		if (!ARCH)
			return ENOSYS;
		give(otherwise);
		const sock_fprog program = {(unsigned short)code.size(), code.data()};
		const long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
		/* Positive: a thread that could not follow. EINVAL: a kernel without filters, or with others in the way */
		return r > 0 ? EBUSY : r == 0 ? 0 : errno == EINVAL ? ENOSYS : errno;
	}

private:
	void load(uint32_t offset) { code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }
	void give(uint32_t verdict) { code.push_back(BPF_STMT(BPF_RET | BPF_K, verdict)); }
	void unless_equal(uint32_t value, uint8_t skip)
	{
		code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, skip, 0));
	}
	std::vector<sock_filter> code;
};

} // namespace passt

#define IS(arg, mask, ...) {argument(arg, false), mask, {__VA_ARGS__}},
#define IS_HIGH(arg, value) {argument(arg, true), ~0u, {value}},
#define ALLOW(call, why) f.row(SYS_##call, SECCOMP_RET_ALLOW);
#define ALLOW_IF(call, tests, why) f.row(SYS_##call, SECCOMP_RET_ALLOW, {tests});
#define REFUSE(call, error, why) f.row(SYS_##call, SECCOMP_RET_ERRNO | error);
#define KILL(call, why) f.row(SYS_##call, SECCOMP_RET_KILL_PROCESS);

#endif
