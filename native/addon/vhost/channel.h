/* The socket on which a vhost-user front-end sends messages with descriptors: one whole message at a time, and replies.
 *
 * No octet behind the message is read, so its descriptors are those that came with its octets.
 */
#ifndef PASST_VHOST_CHANNEL_H
#define PASST_VHOST_CHANNEL_H

#include "../abi.h"

#include <cstddef>
#include <string>
#include <vector>

namespace passt {

/** Octets of replies that wait for the front-end to read them. */
enum : size_t { CHANNEL_WAITING = 64u << 10 };

class Channel {
public:
	Channel() = default;
	Channel(const Channel &) = delete;
	Channel &operator=(const Channel &) = delete;
	~Channel() { close(); }

	int fd = -1;
	/** LINK_*: why it is of no further use, 0 = it is; with errno or the bad length. */
	uint32_t ended = 0, detail = 0;

	/** Of a new front-end; the old one is closed. Takes it over. */
	void use(int descriptor);
	void close();

	/** Read what there is of the next message. True: it is whole. */
	bool read();
	/** The whole message: header and payload, descriptors. */
	const uint8_t *message() const { return in; }
	uint32_t length() const { return have; }
	/** Descriptors that came with it; they are the caller's once it was taken. `too_many`: more came, which are closed. */
	int fds[VHOST_FDS_MAX];
	uint32_t fd_count = 0;
	bool too_many = false;
	void taken() { have = fd_count = 0, too_many = false; }

	void reply(const uint8_t *from, size_t n);
	void flush();
	/** The front-end has not read everything yet: wait for EPOLLOUT, then flush(). */
	bool blocked() const { return !out.empty(); }
	const std::vector<uint8_t> &unsent() const { return out; }
	/**
	 * Goes on with what another process had of this front-end's: a part of a message with its descriptors, which are taken over, and replies.
	 * False: it is more than there can be.
	 */
	bool resume(const std::string &came, const std::vector<int> &passed, const std::string &unsent);

private:
	bool receive(uint32_t upto);
	void finish(uint32_t why, uint32_t what);

	uint8_t in[VHOST_HEAD + VHOST_MESSAGE_MAX];
	uint32_t have = 0;
	std::vector<uint8_t> out;
};

} // namespace passt

#endif
