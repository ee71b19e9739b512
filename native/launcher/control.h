/* The launcher's end of the control socket (protocol.h): takes requests, sends one reply for each. Never waits. */
#ifndef PASST_LAUNCHER_CONTROL_H
#define PASST_LAUNCHER_CONTROL_H

#include <optional>
#include <string_view>
#include <vector>

#include "util.h"

/* How long replies may wait for the engine to fetch earlier ones. It fetches them before it does anything else */
constexpr int STALLED_MS = 5000;

/** A reply. `passed`: handed over, and closed here: the engine's end shall be theirs. `without`: instead, when the kernel does not take them. */
struct Message {
	std::string data, without;
	std::vector<Fd> passed;
};

/** "kind errno flags", in front of a reply's body. */
std::string replyHead(uint32_t kind, int err, uint32_t flags);

class Control {
public:
	explicit Control(Fd socket) : socket_(std::move(socket)) {}

	enum class Came { NOTHING, REQUEST, END };
	/** The next request, valid until the next call. One that is too long comes as an empty one. */
	Came take(std::string_view &request);
	/** False: the engine is not to be reached any more. */
	bool post(Message &&m);
	/** What post() could not send: when the socket is writable, or stalledAt(). */
	bool flush();
	/** A reply that the engine's side had no room for: no request is taken before it is sent, or the engine given up. */
	bool unsent() const { return unsent_.has_value(); }
	/** ms, monotonic; -1 = not at all. */
	int64_t stalledAt() const { return stalledAt_; }
	int fd() const { return socket_.get(); }
	/** The engine sees the end of file. */
	void close();

private:
	Fd socket_;
	std::optional<Message> unsent_;
	int64_t stalledAt_ = -1;
};

#endif
