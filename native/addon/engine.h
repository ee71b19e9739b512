/* The engine: everything one loop turn does. Plain C++; addon.cc puts it before JS, native/test/ before the sanitizers.
 *
 * A turn (turn.cc): the effects in order, sends gathered per socket and written at the end; their results; epoll; then readiness.
 * Spliced connections and joined datagrams are moved within the call: it returns to JS only with an event, or when the time is over.
 * JS is trusted but may err: a record that names memory or handles that are not there does nothing but EV_FAILED.
 *
 * Each part has its own state and knows only parts above it in the list below.
 */
#ifndef PASST_ENGINE_H
#define PASST_ENGINE_H

#include "conf.h"
#include "handover.h"
#include "hostwatch.h"
#include "receive.h"
#include "look.h"
#include "migrate/migration.h"
#include "notify.h"
#include "open.h"
#include "peek.h"
#include "tapport.h"

namespace passt {

class Engine : public Core {
public:
	/** 0 or errno. Once. */
	int open(const Sizes &sizes);
	/** As Native.turn() in src/runtime/abi/abi.ts; -1 = open() was not called. */
	int turn(uint32_t effects, double timeout_ms);
	/** As Native.carryOut() in src/runtime/abi/abi.ts. */
	void carry_out(uint32_t effects);
	/** The same as in NsPools, and what waited for the sockets is opened. */
	int add_ns_sockets(uint32_t kind, const int *fds, size_t n);
	bool take_sockets(const uint8_t *message, size_t len, const std::vector<int> &passed);

	Outbound outbound;
	Tap tap;
	TapPort tap_port{*this, tap};
	Vhost vhost{*this, tap};
	Clients clients{*this, tap, vhost};
	Notices notices{*this};
	HostWatch host{*this};
	Table table{*this};
	Sender sender{*this, table, tap};
	Tcp tcp{*this, table, sender};
	Peeker peeker{*this, table, tap, tcp};
	Migration migration{*this, table, sender, tcp, peeker, outbound};
	Listeners listeners{*this, table};
	Receiver receiver{*this, table, sender, listeners};
	NsPools pools{*this, table};
	Splices splices{*this, table, listeners, pools, outbound};
	Conf conf{*this};
	HandOver hand_over{*this, table, tap, vhost, clients, listeners, migration.repair, conf};
	Opener opener{*this, table, sender, tcp, listeners, pools, splices, outbound};

private:
	void execute(uint32_t n);
	void execute_one(const Record &e);
	void write_to_tap(const fx::Octets &e);
	void note_capture(const fx::CaptureNote &e);
	void deliver();
	void wait(double timeout_ms);
	bool exhausted() const;
	/** A client, in place of a tap. */
	bool guest_link() const { return tap.link.on || tap.vhost.on; }
	int poll(double timeout_ms);
	bool worth_spinning();
	int spin();
	double due(double deadline) const;
	void ready(uint64_t what, uint32_t events);

	Look look;
	/** at the last look: whom something ran out in front of (epoll's word; 0: nobody) */
	uint64_t unserved = 0;
};

} // namespace passt

#endif
