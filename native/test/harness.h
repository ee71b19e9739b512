/* Tests of the plain C++ core under AddressSanitizer and UBSan: TEST(name) { CHECK(...) }, and a rig of an engine with a
 * socket pair in place of the tap. Loopback only. `native/test/run` builds and runs everything. */
#ifndef PASST_TEST_HARNESS_H
#define PASST_TEST_HARNESS_H

#include "../addon/engine.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

using namespace passt;
using Octets = std::vector<uint8_t>;

struct Test {
	const char *name;
	void (*run)();
};
std::vector<Test> &tests();
struct Register {
	Register(const char *name, void (*run)()) { tests().push_back({name, run}); }
};
#define TEST(name)                                                                                                             \
	static void name();                                                                                                    \
	static Register register_##name(#name, name);                                                                          \
	static void name()
#define CHECK(cond)                                                                                                            \
	do {                                                                                                                   \
		if (!(cond)) {                                                                                                 \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno);                           \
			exit(1);                                                                                               \
		}                                                                                                              \
	} while (0)

/** Deterministic pseudo-random numbers. Each test has a sequence of its own, so that a failure comes again; SEED=n chooses another. */
uint32_t chance(uint32_t below);
Octets noise(size_t n);

using Ev = std::vector<uint32_t>;

/** An engine, the far end of its "tap", and effects to be written by word. */
struct Rig {
	Engine engine;
	/** what the guest's kernel would hold */
	int guest = -1;
	/** descriptor given to the engine; closed with the rig */
	int tap = -1;
	uint32_t effects = 0;
	std::vector<Ev> seen;

	explicit Rig(bool vnet = true, uint32_t offloads = OFF_CSUM | OFF_TSO4 | OFF_TSO6 | OFF_USO4 | OFF_USO6,
		     Sizes sizes = {1 << 20, 8 << 20, 64, 4096, 512});
	~Rig();

	void effect(std::initializer_list<uint32_t> words);
	/** An opening effect towards 127.0.0.1 or ::1. */
	void open(uint32_t kind, uint32_t handle, uint16_t port, bool v6 = false, uint32_t word8 = 0);
	/** Run a turn; what it posted goes behind `seen`. Return: the events of this turn. */
	std::vector<Ev> turn(double timeout_ms = 0);
	/** Turns until an event of `kind` came (it is returned and taken from `seen`), at most 2 s. */
	Ev await(uint32_t kind);
	/** The first such event in `seen`, or empty. */
	Ev take(uint32_t kind);
	/** Copy into the JS part of the slab. Return: offset. */
	uint32_t put(const Octets &b, uint32_t at = 4096);
	Octets slab(uint32_t off, uint32_t len);
	/** Next frame that the engine wrote to the tap; empty: none. */
	Octets frame();
};

/** A listener on loopback. */
struct Listener {
	int fd;
	uint16_t port;
	explicit Listener(bool v6 = false, int rcvbuf = 0);
	~Listener();
	int accept();
};
/** A UDP socket on loopback, not connected. */
struct Datagrams {
	int fd;
	uint16_t port;
	explicit Datagrams(bool v6 = false);
	~Datagrams();
	void send_to(uint16_t to, const Octets &b);
	Octets receive(uint16_t *from = nullptr, int ms = 1000);
	bool v6;
};

/** Virtio-net header and Ethernet/IP/TCP header template, as JS writes them for EF_PEEK. */
Octets tcp_template(bool v6, uint32_t seq);
/** In a process and a network namespace of its own (root); it ends well, or this test does not. */
void in_namespace(const std::function<void()> &body);
bool wait_for(int fd, short events, int ms = 1000);
Octets read_all(int fd, size_t n);
std::string text(const Octets &b);
Octets octets(const std::string &s);
/** Is the L4 checksum of this complete frame right? */
bool l4_sum_ok(const Octets &frame, size_t l4, uint8_t protocol);

#endif
