// vhost-frontend - a guest without a virtual machine, behind passt's --vhost-user: a hypervisor's end of the socket, with the
// virtqueues of a network card in shared memory, and a tap device of this network namespace as the card. What tapbridge.cc
// is for the stream socket. Compiled by test/lib/passt.ts with g++; bench/ uses it as well.
//
//   vhost-frontend [OPTIONS] SOCKET DEVICE COMMAND [ARG...]
//
//   --features LIST    virtio features to acknowledge of those offered: all, upstream, none, NAME, -NAME, in this order
//   --protocol LIST    protocol features, likewise
//   --ring N           entries of each ring (256)
//   --base N           index that both rings begin with (0)
//   --rx LIST          sizes of the descriptors of one receive chain, such as 12,1500 or 1x64; the header goes first
//   --tx LIST          the same for transmit chains; what a frame does not need is left out
//   --slots N          chains of a ring in use at most (256)
//   --regions N        regions of guest memory (1), with gaps between them
//   --adjacent         without gaps: buffers go from one to the next
//   --reconnect        when passt closes, connect again
//   --control PATH     a socket that takes one command a connection, and answers "ok ..." or "error ...":
//                        stop cont    as QEMU pauses a machine       reset    as a guest reboots
//                        memory       another table, rings running   reconnect
//                        log-on log-check log-off    dirty log       stats    counters as JSON
//                      and to move, while stopped (vhost-user, "Migrating back-end state"):
//                        save [FILE [MOST]]    the back-end's state, which we keep, and put into FILE; of more than MOST octets
//                                              nothing is read any more: the pipe is closed, or with MOST+ stays as it is for 5 s
//                        load SOCKET [CUT]     the session is with that passt now, which gets the state, or its first CUT octets
//                        state FILE            what load gives, in place of what was saved
//                        back                  the session before is ours again, that passt is hung up on
//                        forget                the session before is hung up on
//
// Makes the tap, connects, sends what QEMU sends, then runs COMMAND and ends with its status. A thread for each ring carries
// frames by one readv() or writev() straight from and to the buffers. What the tap may do for us depends on the features
// (TUNSETOFFLOAD), so both kernels' offloads meet. A frame that finds no buffer waits in the tap's queue. What passt may not
// do ends the program with status 125 and a line that says what it was.
#include "vhost-guest.h"
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>

namespace {

// Features (virtio 1.2 §5.1.3, §6; vhost-user).
constexpr uint64_t bit(unsigned n)
{
	return 1ull << n;
}
struct Name {
	const char *name;
	unsigned bit;
};
constexpr unsigned CSUM = 0, GUEST_CSUM = 1, GUEST_TSO4 = 7, GUEST_TSO6 = 8, HOST_TSO4 = 11, HOST_TSO6 = 12, MRG_RXBUF = 15,
		   LOG_ALL = 26, INDIRECT_DESC = 28, EVENT_IDX = 29, PROTOCOL_FEATURES = 30, VERSION_1 = 32, GUEST_USO4 = 54,
		   GUEST_USO6 = 55, HOST_USO = 56;
const std::vector<Name> featureNames{ { "csum", CSUM }, { "guest_csum", GUEST_CSUM }, { "guest_tso4", GUEST_TSO4 },
				      { "guest_tso6", GUEST_TSO6 }, { "host_tso4", HOST_TSO4 }, { "host_tso6", HOST_TSO6 },
				      { "mrg", MRG_RXBUF }, { "indirect", INDIRECT_DESC }, { "event_idx", EVENT_IDX },
				      { "guest_uso4", GUEST_USO4 }, { "guest_uso6", GUEST_USO6 }, { "host_uso", HOST_USO } };
constexpr uint64_t UPSTREAM = bit(GUEST_CSUM) | bit(MRG_RXBUF);
constexpr unsigned MQ = 0, LOG_SHMFD = 1, RARP = 2, REPLY_ACK = 3, MEM_SLOTS = 15, DEVICE_STATE = 19;
const std::vector<Name> protocolNames{ { "mq", MQ }, { "log_shmfd", LOG_SHMFD }, { "rarp", RARP }, { "reply_ack", REPLY_ACK },
				       { "mem_slots", MEM_SLOTS }, { "device_state", DEVICE_STATE } };
constexpr uint64_t UPSTREAM_PROTOCOL = bit(LOG_SHMFD) | bit(RARP) | bit(REPLY_ACK) | bit(DEVICE_STATE);

// Requests (vhost-user, "Front-end message types").
enum Request : uint32_t {
	GET_FEATURES = 1, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 5, SET_LOG_BASE, SET_VRING_NUM = 8, SET_VRING_ADDR, SET_VRING_BASE,
	GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM,
	SET_VRING_ENABLE, GET_MAX_MEM_SLOTS = 36, ADD_MEM_REG, REM_MEM_REG, SET_DEVICE_STATE_FD = 42, CHECK_DEVICE_STATE
};

/** struct virtio_net_hdr_v1. */
struct NetHeader {
	uint8_t flags, gsoType;
	uint16_t headerLength, gsoSize, csumStart, csumOffset, buffers;
};
constexpr size_t NET_HEADER = sizeof(NetHeader);
static_assert(NET_HEADER == 12);
constexpr uint8_t NEEDS_CSUM = 1, DATA_VALID = 2, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5;
/** The longest frame behind its header: an IP packet of 65535 octets, or what a tap gives with an MTU of 65520 and TSO. */
constexpr size_t FRAME_MAX = NET_HEADER + 14 + 4 + 65535;
constexpr unsigned RX = 0, TX = 1;

struct Options {
	uint64_t features = ~0ull, protocol = ~bit(MQ);
	unsigned ring = 256, regions = 1;
	uint16_t base = 0;
	Layout rx, tx;
	size_t slots = 256;
	bool adjacent = false, reconnect = false;
	const char *control = nullptr, *socket = nullptr, *device = nullptr;
} options;

/** passt is gone. */
struct Gone {};
/** A command that cannot be done, or did not give what it must. */
struct Failed {
	std::string why;
};

template <typename... A> std::string text(const char *format, A... a)
{
	char s[400];
	snprintf(s, sizeof s, format, a...);
	return s;
}

/** The session with passt: messages, in the order in which QEMU sends them. Used by one thread. */
class Session {
public:
	explicit Session(int fd)
	{
		for (int &p : private_)
			p = must(eventfd(0, EFD_CLOEXEC), "eventfd");
		connect(fd);
	}
	/** Before start(). */
	void attach(Memory &m, Ring &rx, Ring &tx)
	{
		memory_ = &m;
		rings_[RX] = &rx;
		rings_[TX] = &tx;
	}

	void connect(int fd)
	{
		fd_ = fd;
		memoryOf_.clear();
		uint64_t offered = ask64(GET_FEATURES);
		if ((offered & bit(VERSION_1)) == 0)
			broken("does not offer VERSION_1: %#llx", static_cast<unsigned long long>(offered));
		protocol = 0;
		if (offered & bit(PROTOCOL_FEATURES)) {
			protocol = ask64(GET_PROTOCOL_FEATURES) & options.protocol;
			tell64(SET_PROTOCOL_FEATURES, protocol);
			if (protocol & bit(MQ) && ask64(GET_QUEUE_NUM) < 1)
				broken("has no queues");
			if (protocol & bit(MEM_SLOTS) && ask64(GET_MAX_MEM_SLOTS) < options.regions)
				broken("has too few memory slots");
		}
		tell(SET_OWNER);
		if (ask64(GET_FEATURES) != offered)
			broken("offers other features when asked again");
		for (unsigned i = 0; i < 2; i++) {
			tellRing(SET_VRING_CALL, i, private_[i]);
			tellRing(SET_VRING_ERR, i, private_[2 + i]);
		}
		enable();
		if (features & ~offered)
			broken("does not offer any more what was acknowledged: %#llx", static_cast<unsigned long long>(offered));
		// A driver that runs already has made up its mind
		if (features == 0)
			features = drivers(offered);
	}
	/** The session before stays as it is, until back() or forget(). */
	void moveTo(int fd)
	{
		forget();
		before_ = { fd_, protocol, memoryOf_ };
		connect(fd);
	}
	void back()
	{
		if (before_.fd < 0)
			throw Failed{ "no session before this one" };
		hangUp();
		fd_ = before_.fd;
		protocol = before_.protocol;
		memoryOf_ = before_.memory;
		before_.fd = -1;
	}
	void hangUp()
	{
		if (fd_ >= 0)
			close(fd_);
		fd_ = -1;
	}
	void forget()
	{
		if (before_.fd >= 0)
			close(before_.fd);
		before_.fd = -1;
	}
	/** Where the back-end writes its state to, or reads it from; the pipe's other end. */
	int transfer(bool load)
	{
		if ((protocol & bit(DEVICE_STATE)) == 0)
			throw Failed{ "passt does not offer device states" };
		int ends[2];
		must(pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe");
		const uint32_t how[]{ load, 0 };
		must(fcntl(ends[load ? 0 : 1], F_SETFL, 0), "pipe");
		tell(SET_DEVICE_STATE_FD, how, sizeof how, { ends[load ? 0 : 1] });
		close(ends[load ? 0 : 1]);
		uint64_t answer;
		reply(SET_DEVICE_STATE_FD, &answer, sizeof answer);
		if (answer != 0x100) {
			close(ends[load ? 1 : 0]);
			throw Failed{ text("passt answers SET_DEVICE_STATE_FD with %#llx", static_cast<unsigned long long>(answer)) };
		}
		return ends[load ? 1 : 0];
	}
	void checkTransfer()
	{
		if (const uint64_t answer = ask64(CHECK_DEVICE_STATE))
			throw Failed{ text("passt answers CHECK_DEVICE_STATE with %#llx", static_cast<unsigned long long>(answer)) };
	}
	void start(bool log = false)
	{
		setFeatures(log);
		setMemory();
		for (unsigned i = 0; i < 2; i++) {
			const Ring &r = *rings_[i];
			const uint32_t num[]{ i, r.size }, base[]{ i, __atomic_load_n(&r.used[1], __ATOMIC_ACQUIRE) };
			tell(SET_VRING_NUM, num, sizeof num);
			tell(SET_VRING_BASE, base, sizeof base);
			setAddress(i, log);
			tellRing(SET_VRING_KICK, i, r.kick);
			tellRing(SET_VRING_CALL, i, r.call);
		}
		enable();
	}
	/** Both rings; each must have given back what it took. */
	void stop()
	{
		for (uint32_t i = 0; i < 2; i++) {
			const uint32_t ask[]{ i, 0 };
			tell(GET_VRING_BASE, ask, sizeof ask);
			uint32_t got[2];
			reply(GET_VRING_BASE, got, sizeof got);
			const uint16_t back = __atomic_load_n(&rings_[i]->used[1], __ATOMIC_ACQUIRE);
			if (got[0] != i || got[1] != back)
				broken("stopped ring %u at %u, told of ring %u at %u", i, back, got[0], got[1]);
		}
	}
	void enable()
	{
		for (uint32_t i = 0; i < 2; i++) {
			const uint32_t on[]{ i, 1 };
			tell(SET_VRING_ENABLE, on, sizeof on);
		}
	}
	/**
	 * The whole table, in another order each time, with a region more that nobody uses every other time. By SET_MEM_TABLE,
	 * or by what changes of it.
	 */
	void setMemory()
	{
		std::vector<Memory::Region> table = memory_->regions;
		if (++tables_ % 2 == 0) {
			if (spare_.fd < 0) {
				spare_ = { must(memfd_create("spare", MFD_CLOEXEC), "memfd_create"), 0x1000, 16 * PAGE, 0, nullptr, 0 };
				must(ftruncate(spare_.fd, 16 * PAGE), "ftruncate");
			}
			table.push_back(spare_);
		}
		std::rotate(table.begin(), table.begin() + tables_ % static_cast<unsigned>(table.size()), table.end());
		if (protocol & bit(MEM_SLOTS))
			changeMemory(table);
		else
			replaceMemory(table);
		memoryOf_ = table;
	}
	void setLog(int fd, uint64_t size)
	{
		const uint64_t m[]{ size, 0 };
		tell(SET_LOG_BASE, m, sizeof m, { fd });
		if (protocol & bit(LOG_SHMFD)) {
			uint64_t ignored;
			reply(SET_LOG_BASE, &ignored, sizeof ignored);
		}
		log(true);
	}
	/** While rings run. */
	void log(bool on)
	{
		setFeatures(on);
		for (unsigned i = 0; i < 2; i++)
			setAddress(i, on);
	}
	int fd() const
	{
		return fd_;
	}
	/** In force. */
	uint64_t features = 0, protocol = 0;

private:
	static constexpr uint32_t REPLY = 4, NEED_REPLY = 8;
	struct Header {
		uint32_t request, flags, size;
	};
	struct Entry {
		uint64_t gpa, size, address, offset;
	};

	/** What a driver makes of an offer: nothing without what it rests on (virtio 1.2 §5.1.3.1). */
	static uint64_t drivers(uint64_t offered)
	{
		uint64_t f = options.features;
		if ((f & offered & bit(CSUM)) == 0)
			f &= ~(bit(HOST_TSO4) | bit(HOST_TSO6) | bit(HOST_USO));
		if ((f & offered & bit(GUEST_CSUM)) == 0)
			f &= ~(bit(GUEST_TSO4) | bit(GUEST_TSO6) | bit(GUEST_USO4) | bit(GUEST_USO6));
		uint64_t known = bit(VERSION_1) | bit(PROTOCOL_FEATURES);
		for (const Name &n : featureNames)
			known |= f & bit(n.bit);
		return offered & known;
	}
	void setFeatures(bool log)
	{
		const uint64_t f = features | (log ? bit(LOG_ALL) : 0);
		tell(SET_FEATURES, &f, sizeof f, {}, log);
	}
	void setAddress(unsigned i, bool log)
	{
		const Ring &r = *rings_[i];
		const auto at = [](const void *p) { return reinterpret_cast<uint64_t>(p); };
		const struct {
			uint32_t ring, flags;
			uint64_t desc, used, avail, log;
		} m{ i, log, at(r.desc), at(r.used), at(r.avail), log ? memory_->gpa(r.used) : 0 };
		tell(SET_VRING_ADDR, &m, sizeof m, {}, log);
	}
	static Entry entry(const Memory::Region &r)
	{
		return { r.gpa, r.size, r.at == nullptr ? SPARE_ADDRESS : reinterpret_cast<uint64_t>(r.at), r.offset };
	}
	void replaceMemory(const std::vector<Memory::Region> &table)
	{
		struct {
			uint32_t count, pad;
			Entry regions[8];
		} m{ static_cast<uint32_t>(table.size()), 0, {} };
		std::vector<int> fds;
		for (size_t i = 0; i < table.size(); i++) {
			m.regions[i] = entry(table[i]);
			fds.push_back(table[i].fd);
		}
		tell(SET_MEM_TABLE, &m, 8 + table.size() * sizeof(Entry), fds, true);
	}
	void changeMemory(const std::vector<Memory::Region> &table)
	{
		const auto has = [](const std::vector<Memory::Region> &t, const Memory::Region &r) {
			return std::any_of(t.begin(), t.end(), [&](const Memory::Region &o) { return o.fd == r.fd; });
		};
		const auto one = [this](Request request, const Memory::Region &r, const std::vector<int> &fds) {
			const struct {
				uint64_t pad;
				Entry region;
			} m{ 0, entry(r) };
			tell(request, &m, sizeof m, fds, true);
		};
		for (const Memory::Region &r : memoryOf_)
			if (!has(table, r))
				one(REM_MEM_REG, r, {});
		for (const Memory::Region &r : table)
			if (!has(memoryOf_, r))
				one(ADD_MEM_REG, r, { r.fd });
	}

	void tell64(Request r, uint64_t v)
	{
		tell(r, &v, sizeof v);
	}
	void tellRing(Request r, uint64_t ring, int fd)
	{
		tell(r, &ring, sizeof ring, { fd });
	}
	/** With `ack` it waits until that is done, where passt can say so. */
	void tell(Request request, const void *payload = nullptr, size_t octets = 0, const std::vector<int> &fds = {},
		  bool ack = false)
	{
		ack = ack && protocol & bit(REPLY_ACK);
		Header h{ request, 1u | (ack ? NEED_REPLY : 0), static_cast<uint32_t>(octets) };
		iovec v[]{ { &h, sizeof h }, { const_cast<void *>(payload), octets } };
		alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))]{};
		msghdr m{};
		m.msg_iov = v;
		m.msg_iovlen = 2;
		if (!fds.empty()) {
			m.msg_control = control;
			m.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
			cmsghdr *c = CMSG_FIRSTHDR(&m);
			*c = { CMSG_LEN(fds.size() * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
			memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
		}
		if (sendmsg(fd_, &m, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof h + octets))
			throw Gone{};
		if (!ack)
			return;
		uint64_t error;
		reply(request, &error, sizeof error);
		if (error != 0)
			broken("refused request %u: %llu", request, static_cast<unsigned long long>(error));
	}
	uint64_t ask64(Request request)
	{
		tell(request);
		uint64_t v;
		reply(request, &v, sizeof v);
		return v;
	}
	void reply(Request request, void *payload, uint32_t octets)
	{
		Header h;
		take(&h, sizeof h);
		if (h.request != request || h.flags != (1 | REPLY) || h.size != octets)
			broken("answered request %u with %u, flags %#x, %u octets", request, h.request, h.flags, h.size);
		take(payload, octets);
	}
	void take(void *to, size_t octets)
	{
		pollfd p{ fd_, POLLIN, 0 };
		if (poll(&p, 1, 20'000) == 0)
			broken("does not answer");
		if (recv(fd_, to, octets, MSG_WAITALL) != static_cast<ssize_t>(octets))
			throw Gone{};
	}

	static constexpr uint64_t SPARE_ADDRESS = 0x7000000;
	Memory *memory_ = nullptr;
	Ring *rings_[2]{};
	/** QEMU's own descriptors, before the guest's driver is there. */
	int private_[4];
	int fd_ = -1;
	unsigned tables_ = 0;
	std::vector<Memory::Region> memoryOf_;
	struct {
		int fd = -1;
		uint64_t protocol = 0;
		std::vector<Memory::Region> memory;
	} before_;
	Memory::Region spare_{ -1, 0, 0, 0, nullptr, 0 };
};

/** A thread that carries frames of one ring, and can be held. */
class Worker {
public:
	Worker() : wake_(must(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"))
	{
	}
	virtual ~Worker() = default;
	void begin()
	{
		std::thread([this] { loop(); }).detach();
	}
	/** Nothing is touched until go(). */
	void hold()
	{
		held_ = true;
		mutex_.lock();
	}
	void go()
	{
		held_ = false;
		mutex_.unlock();
		gone_.notify_all();
		const uint64_t one = 1;
		if (write(wake_, &one, sizeof one) < 0 && errno != EAGAIN)
			die("wake");
	}
	uint64_t frames = 0, segments = 0, octets = 0;

protected:
	/** What is there, but not for ever; which descriptor says that there is more, -1 for at once. */
	virtual int work() = 0;

private:
	void loop()
	{
		for (;;) {
			int wait;
			{
				std::unique_lock<std::mutex> lock(mutex_);
				gone_.wait(lock, [this] { return !held_; });
				wait = work();
			}
			if (wait < 0)
				continue;
			pollfd p[]{ { wait, POLLIN, 0 }, { wake_, POLLIN, 0 } };
			if (poll(p, 2, -1) < 0 && errno != EINTR)
				die("poll");
			uint64_t n;
			if (p[1].revents != 0 && read(wake_, &n, sizeof n) < 0)
				die("wake");
		}
	}
	const int wake_;
	std::atomic<bool> held_{ true };
	std::mutex mutex_;
	std::condition_variable gone_;
};

/** Frames that a turn carries before it looks whether it is held; frames behind which the other side is told. */
constexpr unsigned TURN = 256, TELL = 16;

/** From the tap to the transmit ring. */
class Transmitter : public Worker {
public:
	Transmitter(Ring &r, int tap) : ring_(r), tap_(tap)
	{
	}
	/** A number of frames that waits for passt. */
	unsigned inFlight() const
	{
		return static_cast<unsigned>(ring_.slots.size() - ring_.free.size());
	}

private:
	int work() override
	{
		ring_.drainCall();
		ring_.quiet();
		for (unsigned n = 0; n < TURN; n++) {
			if (ring_.free.empty() && !reclaim()) {
				ring_.publish();
				// Half of them, as Linux' driver does, so that one interrupt is for many.
				if (!ring_.listen(static_cast<uint16_t>(ring_.slots.size() / 2)))
					return ring_.call;
				reclaim();
				ring_.quiet();
			}
			const uint16_t id = ring_.free.back();
			const Ring::Slot &s = ring_.slots[id];
			const ssize_t got = receive(s);
			if (got < 0) {
				if (errno != EAGAIN && errno != EINTR)
					die("read from the tap");
				ring_.publish();
				return tap_;
			}
			ring_.free.pop_back();
			ring_.offer(id, static_cast<size_t>(got));
			frames++;
			octets += static_cast<uint64_t>(got) - NET_HEADER;
			if (static_cast<uint16_t>(ring_.offered - ring_.published) >= TELL)
				ring_.publish();
		}
		ring_.publish();
		return -1;
	}
	ssize_t receive(const Ring::Slot &s)
	{
		if (s.pieces.size() <= IOV)
			return readv(tap_, s.pieces.data(), static_cast<int>(s.pieces.size()));
		const ssize_t n = read(tap_, whole_, std::min(sizeof whole_, s.capacity));
		size_t at = 0;
		for (const iovec &v : s.pieces) {
			if (n < 0 || at >= static_cast<size_t>(n))
				break;
			const size_t part = std::min(v.iov_len, static_cast<size_t>(n) - at);
			memcpy(v.iov_base, whole_ + at, part);
			at += part;
		}
		return n;
	}
	bool reclaim()
	{
		const uint16_t n = ring_.returned();
		for (uint16_t i = 0; i < n; i++) {
			// Upstream, and QEMU's own devices, say 0: nothing was written (virtio 1.2 §2.7.8.2).
			ring_.free.push_back(ring_.peek().first);
			ring_.seen++;
		}
		return n > 0;
	}
	static constexpr size_t IOV = 1000;
	Ring &ring_;
	const int tap_;
	uint8_t whole_[FRAME_MAX];
};

/** From the receive ring to the tap. */
class Receiver : public Worker {
public:
	Receiver(Ring &r, int tap) : ring_(r), tap_(tap)
	{
	}
	/** All buffers, as a driver that starts. */
	void fill()
	{
		for (; !ring_.free.empty(); ring_.free.pop_back())
			ring_.offer(ring_.free.back(), ring_.slots[ring_.free.back()].capacity);
		// Nobody may look at them yet, so nobody is told.
		ring_.published = ring_.offered;
		__atomic_store_n(&ring_.avail[1], ring_.offered, __ATOMIC_RELEASE);
		ring_.listen(0);
	}
	uint64_t features = 0;

private:
	int work() override
	{
		ring_.drainCall();
		ring_.quiet();
		for (unsigned n = 0; n < TURN; n++) {
			const uint16_t chains = ring_.returned();
			if (chains == 0) {
				ring_.publish();
				if (!ring_.listen(0))
					return ring_.call;
				ring_.quiet();
				continue;
			}
			deliver(chains);
			if (static_cast<uint16_t>(ring_.offered - ring_.published) >= TELL)
				ring_.publish();
		}
		ring_.publish();
		return -1;
	}
	/** One frame, whose chains go back into the ring. */
	void deliver(uint16_t chains)
	{
		NetHeader h;
		size_t headed = 0, length = 0;
		pieces_.assign(1, { &h, sizeof h });
		uint16_t buffers = 1;
		for (uint16_t i = 0; i < buffers; i++) {
			const auto [id, octets] = ring_.peek(i);
			const Ring::Slot &s = ring_.slots[id];
			if (octets > s.capacity)
				broken("wrote %u octets into %zu", octets, s.capacity);
			size_t left = octets;
			for (const iovec &v : s.pieces) {
				const size_t part = std::min(left, v.iov_len), head = std::min(part, NET_HEADER - headed);
				memcpy(reinterpret_cast<uint8_t *>(&h) + headed, v.iov_base, head);
				headed += head;
				if (part > head)
					pieces_.push_back({ static_cast<uint8_t *>(v.iov_base) + head, part - head });
				left -= part;
				if (left == 0)
					break;
			}
			length += octets;
			if (headed < NET_HEADER)
				broken("used %u octets for a header", octets);
			if (i == 0)
				buffers = h.buffers;
			if (buffers == 0 || buffers > chains || (buffers > 1 && (features & bit(MRG_RXBUF)) == 0))
				broken("says %u buffers where %u are there", buffers, chains);
		}
		octets += length - NET_HEADER;
		check(h, length - NET_HEADER);
		segments += h.gsoType != 0;
		if (h.flags == DATA_VALID)
			trust(h);
		toTap(h);
		for (uint16_t i = 0; i < buffers; i++) {
			const uint16_t id = ring_.peek().first;
			ring_.seen++;
			ring_.offer(id, ring_.slots[id].capacity);
		}
		frames++;
	}
	/** Nothing that the driver did not acknowledge (virtio 1.2 §5.1.6.4.1). */
	void check(const NetHeader &h, size_t octets) const
	{
		const auto has = [this](unsigned n) { return (features & bit(n)) != 0; };
		const bool gso = h.gsoType == 0 || (h.gsoType == GSO_TCPV4 && has(GUEST_TSO4)) ||
				 (h.gsoType == GSO_TCPV6 && has(GUEST_TSO6)) ||
				 (h.gsoType == GSO_UDP_L4 && (has(GUEST_USO4) || has(GUEST_USO6)));
		const bool sum = (h.flags & NEEDS_CSUM) == 0 ||
				 (has(GUEST_CSUM) && size_t{ h.csumStart } + h.csumOffset + 2 <= octets);
		const bool segment = h.gsoType == 0 || (h.gsoSize > 0 && (h.flags & NEEDS_CSUM) != 0);
		if (octets < 14 || (h.flags & ~(NEEDS_CSUM | DATA_VALID)) != 0 || !gso || !sum || !segment)
			broken("sent a frame of %zu octets with flags %u, GSO %u of %u, sum %u + %u: not acknowledged", octets, h.flags,
			       h.gsoType, h.gsoSize, h.csumStart, h.csumOffset);
	}
	/**
	 * A driver believes what is said to be valid; a tap does not know the flag. It believes a sum that is still to be made,
	 * which for a packet that ends here is the same.
	 */
	void trust(NetHeader &h) const
	{
		uint8_t p[54];
		size_t n = 0;
		for (size_t i = 1; i < pieces_.size() && n < sizeof p; i++) {
			const size_t part = std::min(pieces_[i].iov_len, sizeof p - n);
			memcpy(p + n, pieces_[i].iov_base, part);
			n += part;
		}
		h.flags = 0;
		if (n < 42)
			return;
		const unsigned type = p[12] << 8 | p[13], four = (p[14] & 15) * 4u;
		const bool v4 = type == 0x0800 && ((p[20] & 0x3f) | p[21]) == 0, v6 = type == 0x86dd;
		const unsigned proto = v4 ? p[23] : v6 ? p[20] : 0;
		if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
			return;
		h.flags = NEEDS_CSUM;
		h.csumStart = static_cast<uint16_t>(14 + (v4 ? four : 40));
		h.csumOffset = proto == IPPROTO_TCP ? 16 : 6;
	}
	void toTap(const NetHeader &h)
	{
		if (pieces_.size() > IOV) {
			size_t n = 0;
			for (const iovec &v : pieces_) {
				if (n + v.iov_len > sizeof whole_)
					broken("sent a frame of more than %zu octets", n);
				memcpy(whole_ + n, v.iov_base, v.iov_len);
				n += v.iov_len;
			}
			pieces_.assign(1, { whole_, n });
		}
		while (writev(tap_, pieces_.data(), static_cast<int>(pieces_.size())) < 0) {
			if (errno == EIO) // the device is down
				return;
			if (errno == EINVAL)
				broken("sent a header that the kernel refuses: flags %u, GSO %u of %u, sum %u + %u, header %u", h.flags,
				       h.gsoType, h.gsoSize, h.csumStart, h.csumOffset, h.headerLength);
			if (errno == EAGAIN) {
				pollfd p{ tap_, POLLOUT, 0 };
				poll(&p, 1, -1);
			} else if (errno != EINTR)
				die("write to the tap");
		}
	}
	static constexpr size_t IOV = 1000;
	Ring &ring_;
	const int tap_;
	std::vector<iovec> pieces_;
	uint8_t whole_[FRAME_MAX + 65536];
};

/** Which pages of guest memory passt says that it wrote to, against those that it did. */
class DirtyLog {
public:
	explicit DirtyLog(Memory &m) : memory_(m)
	{
	}
	void begin()
	{
		if (bits_ == nullptr) {
			octets = roundUp(memory_.end() / PAGE / 8 + 1, PAGE);
			fd = must(memfd_create("log", MFD_CLOEXEC), "memfd_create");
			must(ftruncate(fd, static_cast<off_t>(octets)), "ftruncate");
			bits_ = static_cast<uint8_t *>(mmap(nullptr, octets, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
			if (bits_ == MAP_FAILED)
				die("mmap of the log");
		}
		again();
	}
	/** `areas`: what passt may write to, and nobody else does. */
	std::string compare(const std::vector<iovec> &areas)
	{
		std::vector<bool> may(memory_.end() / PAGE + 1);
		for (const iovec &v : areas)
			for (size_t at = 0; at < v.iov_len; at += PAGE)
				may[memory_.gpa(static_cast<uint8_t *>(v.iov_base) + at) / PAGE] = true;
		size_t changed = 0, marked = 0, at = 0;
		for (const Memory::Region &r : memory_.regions)
			for (size_t p = 0; p < r.size; p += PAGE, at += PAGE) {
				const size_t page = (r.gpa + p) / PAGE;
				const bool mark = (bits_[page / 8] >> page % 8 & 1) != 0;
				marked += mark;
				if (mark && !may[page])
					throw Failed{ text("page %zu is marked, which passt has no business in", page) };
				if (!may[page] || memcmp(r.at + p, &before_[at], PAGE) == 0)
					continue;
				changed++;
				if (!mark)
					throw Failed{ text("page %zu changed and is not marked", page) };
			}
		again();
		return text("%zu pages changed, %zu marked", changed, marked);
	}
	int fd = -1;
	size_t octets = 0;

private:
	void again()
	{
		memset(bits_, 0, octets);
		before_.clear();
		for (const Memory::Region &r : memory_.regions)
			before_.insert(before_.end(), r.at, r.at + r.size);
	}
	Memory &memory_;
	uint8_t *bits_ = nullptr;
	std::vector<uint8_t> before_;
};

int openTap(const char *name)
{
	const int fd = must(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), "/dev/net/tun");
	ifreq r{};
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	must(ioctl(fd, TUNSETIFF, &r), name);
	const int header = NET_HEADER;
	must(ioctl(fd, TUNSETVNETHDRSZ, &header), "TUNSETVNETHDRSZ");
	return fd;
}

/** Whatever the driver may leave to the device, the kernel leaves to us. */
void offload(int tap, uint64_t features)
{
	constexpr unsigned USO4 = 0x20, USO6 = 0x40; // TUN_F_USO4, TUN_F_USO6: not in older headers
	unsigned f = 0;
	for (const auto &[feature, flag] : { std::pair{ CSUM, unsigned{ TUN_F_CSUM } }, { HOST_TSO4, TUN_F_TSO4 },
					     { HOST_TSO6, TUN_F_TSO6 }, { HOST_USO, USO4 | USO6 } })
		if (features & bit(feature))
			f |= flag;
	if (ioctl(tap, TUNSETOFFLOAD, f) < 0 && ioctl(tap, TUNSETOFFLOAD, f & ~(USO4 | USO6)) < 0)
		die("TUNSETOFFLOAD");
}

/** A connected socket, within 10 s: passt may be about to listen. -1 if `patient` and nobody is there at all. */
int connectTo(const char *path, bool patient)
{
	sockaddr_un a{};
	a.sun_family = AF_UNIX;
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	for (int tries = 0;; usleep(10'000)) {
		const int fd = must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		if (connect(fd, reinterpret_cast<sockaddr *>(&a), sizeof a) == 0)
			return fd;
		close(fd);
		if ((errno != ECONNREFUSED && !(patient && errno == ENOENT)) || tries++ == 1000)
			die(path);
	}
}

std::vector<std::string> split(const char *list, char separator = ',')
{
	std::vector<std::string> words(1);
	for (; *list != 0; list++)
		if (*list == separator)
			words.emplace_back();
		else
			words.back() += *list;
	return words;
}

/** The machine: what QEMU does with it, by commands of control(). */
class Machine {
public:
	Machine(int tap)
		: session_(connectTo(options.socket, false)), rxLayout_(layout(options.rx, has(MRG_RXBUF) ? 4096 : FRAME_MAX)),
		  txLayout_(layout(options.tx, FRAME_MAX)), memory_(octets(), options.regions, options.adjacent), log_(memory_),
		  rx_(memory_, options.ring, true, has(INDIRECT_DESC), rxLayout_, options.slots),
		  tx_(memory_, options.ring, false, has(INDIRECT_DESC), txLayout_, options.slots), tap_(tap), receiver_(rx_, tap),
		  transmitter_(tx_, tap)
	{
		session_.attach(memory_, rx_, tx_);
	}
	void run()
	{
		reset(options.base);
		start();
		receiver_.begin();
		transmitter_.begin();
		std::thread([this] { serve(); }).detach();
	}

private:
	bool has(unsigned feature) const
	{
		return (session_.features & bit(feature)) != 0;
	}
	/** As Linux' driver has it: a page with mergeable buffers, else room for anything. */
	Layout layout(const Layout &given, size_t whole) const
	{
		const Layout l = given.empty() ? Layout{ static_cast<uint32_t>(whole) } : given;
		if (!has(INDIRECT_DESC) && l.size() > options.ring)
			throw std::length_error("a chain is longer than the ring");
		return l;
	}
	size_t octets() const
	{
		return Ring::octets(options.ring, rxLayout_, options.slots) + Ring::octets(options.ring, txLayout_, options.slots);
	}
	void reset(uint16_t base)
	{
		rx_.begin(base);
		tx_.begin(base);
		receiver_.fill();
	}
	void start()
	{
		receiver_.features = session_.features;
		rx_.eventIdx = tx_.eventIdx = has(EVENT_IDX);
		offload(tap_, session_.features);
		if (stoppedAt_ >= 0 && stoppedAt_ != indices())
			broken("wrote to rings that were stopped");
		rx_.listen(0);
		session_.start(logging_);
		if (logging_)
			session_.setLog(log_.fd, log_.octets);
		stoppedAt_ = -1;
		receiver_.go();
		transmitter_.go();
	}
	void hold()
	{
		if (stoppedAt_ >= 0)
			throw Failed{ "stopped already" };
		receiver_.hold();
		transmitter_.hold();
		stoppedAt_ = indices();
	}
	void stop()
	{
		hold();
		session_.stop();
		stoppedAt_ = indices();
	}
	int64_t indices() const
	{
		return int64_t{ __atomic_load_n(&rx_.used[1], __ATOMIC_ACQUIRE) } << 16 | __atomic_load_n(&tx_.used[1], __ATOMIC_ACQUIRE);
	}
	void lost()
	{
		fprintf(stderr, "vhost-frontend: passt closed the connection\n");
		const bool ran = stoppedAt_ < 0;
		if (ran)
			hold();
		session_.hangUp();
		connected_ = false;
		if (options.reconnect)
			reconnect(ran);
	}
	/** Chains that were not returned come again: both rings go on where they were returned to. */
	void reconnect(bool ran)
	{
		session_.connect(connectTo(options.socket, true));
		connected_ = true;
		stoppedAt_ = -1;
		if (ran)
			start();
		else
			stoppedAt_ = indices();
	}

	void serve()
	{
		const int control = options.control == nullptr ? -1 : listenAt(options.control);
		for (;;) {
			pollfd p[]{ { connected_ ? session_.fd() : -1, POLLIN, 0 }, { control, POLLIN, 0 } };
			if (poll(p, 2, -1) < 0 && errno != EINTR)
				die("poll");
			try {
				// Nothing comes that was not asked for.
				if (p[0].revents != 0)
					lost();
				else if (p[1].revents != 0)
					converse(must(accept4(control, nullptr, nullptr, SOCK_CLOEXEC), "accept"));
			} catch (const Gone &) {
				lost();
			}
		}
	}
	static int listenAt(const char *path)
	{
		sockaddr_un a{};
		a.sun_family = AF_UNIX;
		strncpy(a.sun_path, path, sizeof a.sun_path - 1);
		const int fd = must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		must(bind(fd, reinterpret_cast<sockaddr *>(&a), sizeof a), path);
		must(chmod(path, 0777), path);
		must(listen(fd, 10), "listen");
		return fd;
	}
	void converse(int fd)
	{
		char s[300];
		const ssize_t n = recv(fd, s, sizeof s - 1, 0);
		std::string command(s, n > 0 ? static_cast<size_t>(n) : 0);
		command.erase(command.find_last_not_of(" \n") + 1);
		std::string answer;
		bool gone = false;
		try {
			answer = "ok " + obey(command) + "\n";
		} catch (const Failed &f) {
			answer = "error " + f.why + "\n";
		} catch (const Gone &) {
			gone = true;
			answer = "error passt closed the connection\n";
		}
		if (send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0)
			perror("vhost-frontend: answer");
		close(fd);
		if (gone)
			throw Gone{};
	}
	std::string obey(const std::string &c)
	{
		const std::vector<std::string> words = split(c.c_str(), ' ');
		const std::string &verb = words[0];
		/* A passt that has given its state away may have ended (--migrate-exit) before the next one has it */
		if (!connected_ && c != "stats" && c != "back" && verb != "load")
			throw Failed{ "not connected" };
		if (c == "stop")
			stop();
		else if (c == "cont") {
			if (stoppedAt_ < 0)
				throw Failed{ "not stopped" };
			start();
		} else if (c == "reset") {
			if (stoppedAt_ < 0)
				stop();
			stoppedAt_ = -1;
			reset(0);
			session_.enable();
			start();
		} else if (c == "memory")
			session_.setMemory();
		else if (verb == "save")
			return save(words);
		else if (verb == "load")
			return load(words);
		else if (verb == "state")
			readState(words.at(1).c_str());
		else if (c == "back") {
			session_.back();
			connected_ = true;
		} else if (c == "forget")
			session_.forget();
		else if (c == "reconnect") {
			const bool ran = stoppedAt_ < 0;
			if (ran)
				hold();
			session_.hangUp();
			reconnect(ran);
		} else if (c == "log-on") {
			log_.begin();
			session_.setLog(log_.fd, log_.octets);
			logging_ = true;
		} else if (c == "log-off") {
			session_.log(false);
			logging_ = false;
		} else if (c == "log-check")
			return check();
		else if (c == "stats")
			return stats();
		else
			throw Failed{ "unknown command: " + c };
		return "";
	}
	/** As a hypervisor does that moves its guest away. */
	std::string save(const std::vector<std::string> &words)
	{
		mustBeStopped();
		const size_t most = words.size() > 2 ? std::stoul(words[2]) : ~size_t{ 0 };
		const bool stalls = words.size() > 2 && words[2].back() == '+';
		const auto began = std::chrono::steady_clock::now();
		const int pipe = session_.transfer(false);
		state_.clear();
		std::vector<uint8_t> part(1 << 20);
		for (;;) {
			pollfd p{ pipe, POLLIN, 0 };
			if (poll(&p, 1, 20'000) == 0)
				throw Failed{ text("the pipe has no end after %zu octets", state_.size()) };
			const ssize_t n = read(pipe, part.data(), std::min(part.size(), most - state_.size()));
			if (n < 0 && errno != EINTR)
				die("read from the pipe");
			if (n == 0)
				break;
			state_.insert(state_.end(), part.data(), part.data() + n);
		}
		if (stalls)
			sleep(5);
		close(pipe);
		if (words.size() > 1 && words[1] != "-") {
			const int fd = must(open(words[1].c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), words[1].c_str());
			if (write(fd, state_.data(), state_.size()) != static_cast<ssize_t>(state_.size()))
				die("write to a file");
			close(fd);
		}
		session_.checkTransfer();
		return took(began);
	}
	/** As the hypervisor does that the guest comes to: what is known of the rings follows the state. */
	std::string load(const std::vector<std::string> &words)
	{
		mustBeStopped();
		if (words.size() < 2)
			throw Failed{ "load SOCKET" };
		session_.moveTo(connectTo(words[1].c_str(), true));
		connected_ = true;
		const auto began = std::chrono::steady_clock::now();
		try {
			const int pipe = session_.transfer(true);
			const size_t cut = words.size() > 2 ? std::stoul(words[2]) : ~size_t{ 0 };
			for (size_t at = 0; at < std::min(cut, state_.size());) {
				pollfd p{ pipe, POLLOUT, 0 };
				if (poll(&p, 1, 20'000) == 0)
					throw Failed{ text("nobody reads the pipe after %zu octets", at) };
				const ssize_t n = write(pipe, state_.data() + at, std::min(cut, state_.size()) - at);
				if (n < 0 && errno == EPIPE)
					break;
				if (n < 0 && errno != EINTR)
					die("write to the pipe");
				at += n > 0 ? static_cast<size_t>(n) : 0;
			}
			close(pipe);
			session_.checkTransfer();
		} catch (const Gone &) {
			session_.back();
			throw Failed{ "the passt to move to closed the connection" };
		} catch (const Failed &) {
			session_.back();
			throw;
		}
		return took(began);
	}
	void readState(const char *path)
	{
		const int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
		struct stat st {};
		must(fstat(fd, &st), path);
		state_.resize(static_cast<size_t>(st.st_size));
		if (read(fd, state_.data(), state_.size()) != st.st_size)
			die(path);
		close(fd);
	}
	void mustBeStopped() const
	{
		if (stoppedAt_ < 0)
			throw Failed{ "not stopped" };
	}
	std::string took(std::chrono::steady_clock::time_point began) const
	{
		const auto ms = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began).count() / 1e3;
		return text("%zu octets, %.1f ms", state_.size(), ms);
	}
	std::string check()
	{
		if (!logging_)
			throw Failed{ "not logging" };
		stop();
		std::vector<iovec> areas{ { rx_.used, rx_.usedOctets() }, { tx_.used, tx_.usedOctets() } };
		for (const Ring::Slot &s : rx_.slots)
			for (const iovec &v : s.pieces) {
				areas.push_back(v);
				areas.push_back({ static_cast<uint8_t *>(v.iov_base) + v.iov_len - 1, 1 });
			}
		const std::string said = log_.compare(areas);
		start();
		return said;
	}
	std::string stats() const
	{
		const auto ring = [](const Ring &r, const Worker &w) {
			return text("{\"frames\":%llu,\"octets\":%llu,\"segments\":%llu,\"kicks\":%llu,\"calls\":%llu}",
				    static_cast<unsigned long long>(w.frames), static_cast<unsigned long long>(w.octets),
				    static_cast<unsigned long long>(w.segments), static_cast<unsigned long long>(r.kicks),
				    static_cast<unsigned long long>(r.calls));
		};
		return text("{\"features\":\"%#llx\",\"protocol\":\"%#llx\",\"rx\":%s,\"tx\":%s}",
			    static_cast<unsigned long long>(session_.features), static_cast<unsigned long long>(session_.protocol),
			    ring(rx_, receiver_).c_str(), ring(tx_, transmitter_).c_str());
	}

	Session session_;
	const Layout rxLayout_, txLayout_;
	Memory memory_;
	DirtyLog log_;
	Ring rx_, tx_;
	const int tap_;
	Receiver receiver_;
	Transmitter transmitter_;
	bool connected_ = true, logging_ = false;
	/** The back-end's, as it was saved. */
	std::vector<uint8_t> state_;
	/** Both used indices while stopped, else -1. */
	int64_t stoppedAt_ = -1;
};

/** Runs the command; as PID 1 of a namespace we reap whatever else ends. */
int runCommand(char **argv)
{
	const pid_t pid = must(fork(), "fork");
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	for (;;) {
		int status;
		const pid_t ended = wait(&status);
		if (ended < 0 && errno != EINTR)
			die("wait");
		if (ended == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

[[noreturn]] void usage(const char *what)
{
	fprintf(stderr, "vhost-frontend [OPTIONS] SOCKET DEVICE COMMAND [ARG...]: %s\n", what);
	_exit(125);
}

uint64_t bits(const char *list, const std::vector<Name> &names, uint64_t upstream)
{
	uint64_t v = ~0ull;
	for (const std::string &word : split(list)) {
		const bool off = word[0] == '-';
		if (word == "all" || word == "none" || word == "upstream")
			v = word == "all" ? ~0ull : word == "none" ? 0 : upstream;
		else {
			const auto n = std::find_if(names.begin(), names.end(), [&](const Name &n) { return word == (off ? "-" : "") + std::string(n.name); });
			if (n == names.end())
				usage(word.c_str());
			v = off ? v & ~bit(n->bit) : v | bit(n->bit);
		}
	}
	return v;
}

/** `S` or `NxS`, joined by commas. */
Layout layout(const char *list)
{
	Layout l;
	for (const std::string &word : split(list)) {
		unsigned n = 1, size;
		if (sscanf(word.c_str(), "%ux%u", &n, &size) != 2 && (n = 1, sscanf(word.c_str(), "%u", &size)) != 1)
			usage(list);
		l.insert(l.end(), n, size);
	}
	if (std::find(l.begin(), l.end(), 0u) != l.end())
		usage(list);
	return l;
}

/** The command behind the options. */
char **parse(char **argv)
{
	char **a = argv + 1;
	for (; *a != nullptr && strncmp(*a, "--", 2) == 0; a++) {
		const std::string name = *a + 2;
		if (name == "adjacent")
			options.adjacent = true;
		else if (name == "reconnect")
			options.reconnect = true;
		else if (*++a == nullptr)
			usage("a value is missing");
		else if (name == "features")
			options.features = bits(*a, featureNames, UPSTREAM);
		else if (name == "protocol")
			options.protocol = bits(*a, protocolNames, UPSTREAM_PROTOCOL);
		else if (name == "ring")
			options.ring = static_cast<unsigned>(atoi(*a));
		else if (name == "base")
			options.base = static_cast<uint16_t>(atoi(*a));
		else if (name == "rx")
			options.rx = layout(*a);
		else if (name == "tx")
			options.tx = layout(*a);
		else if (name == "slots")
			options.slots = static_cast<size_t>(atoi(*a));
		else if (name == "regions")
			options.regions = static_cast<unsigned>(atoi(*a));
		else if (name == "control")
			options.control = *a;
		else
			usage(name.c_str());
	}
	for (const char **to : { &options.socket, &options.device })
		if ((*to = *a) != nullptr)
			a++;
	if (*a == nullptr || options.regions < 1 || options.regions > 7 || options.ring < 1)
		usage("see the source");
	return a;
}

} // namespace

int main(int, char **argv)
{
	char **command = parse(argv);
	signal(SIGPIPE, SIG_IGN); // a pipe whose reader has gone
	// Never destroyed: its threads end with the process.
	(new Machine(openTap(options.device)))->run();
	const int status = runCommand(command);
	fflush(nullptr);
	_exit(status);
}
