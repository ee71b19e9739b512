/* What JS sees: interface Native in src/runtime/abi/abi.ts. Nothing but conversion; the work is in engine.h and its files.
 * Built without C++ exceptions: a failed call leaves a JS exception pending and returns undefined. */
#include "ctl.h"
#include "engine.h"
#include "isolate.h"
#include "logging.h"
#include "../common/netlink.h"
#include "../common/outfile.h"
#include "../common/unixsocket.h"
#include "seccomp.h"

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <napi.h>
#include <net/if.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace {

using Napi::CallbackInfo;
using Napi::Value;
using passt::Engine;

Engine *engine;

/** Error with `.errno` (positive) and `.code`; returns undefined. `why`: for people, in place of the kernel's own words. */
Value fail(Napi::Env env, const char *what, int error, const std::string &why = "")
{
	const char *const name = strerrorname_np(error);
	const std::string code = name ? name : std::to_string(error);
	Napi::Error e = Napi::Error::New(env, std::string(what) + ": " + (why.empty() ? code + ", " + strerror(error) : why));

	e.Set("errno", Napi::Number::New(env, error));
	e.Set("code", Napi::String::New(env, code));
	e.ThrowAsJavaScriptException();
	return env.Undefined();
}

int int_at(const CallbackInfo &info, size_t i)
{
	return info[i].IsNumber() ? info[i].As<Napi::Number>().Int32Value() : -1;
}

/** False: not a Uint8Array, exception pending. */
bool bytes_at(const CallbackInfo &info, size_t i, const uint8_t *&data, size_t &len)
{
	if (!info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
		fail(info.Env(), "Uint8Array expected", EINVAL);
		return false;
	}
	const auto a = info[i].As<Napi::Uint8Array>();
	data = a.Data(), len = a.ByteLength();
	return true;
}

/** Names of interfaces are octets, not text. False: not a Uint8Array. */
bool octets_of(const Value &v, std::string &out)
{
	if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
		return false;
	const auto a = v.As<Napi::Uint8Array>();
	out.assign(reinterpret_cast<const char *>(a.Data()), a.ByteLength());
	return true;
}

uint32_t field(const Napi::Object &o, const char *name)
{
	const Value v = o.Get(name);
	return v.IsNumber() ? v.As<Napi::Number>().Uint32Value() : 0;
}

Value Open(const CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	if (!info[0].IsObject())
		return fail(env, "open", EINVAL);
	const auto o = info[0].As<Napi::Object>();
	const passt::Sizes sizes = {field(o, "txSize"), field(o, "rxSize"), field(o, "handles"), field(o, "effects"),
				    field(o, "events")};
	/* The memory of an earlier engine stays mapped: JS may still look at it */
	delete engine;
	engine = new Engine;
	if (const int e = engine->open(sizes)) {
		delete engine;
		engine = nullptr;
		return fail(env, "open", e);
	}
	passt::Rings &r = engine->rings;
	Napi::Object out = Napi::Object::New(env);
	const auto share = [&](const char *name, void *at, size_t n) {
		out.Set(name, Napi::ArrayBuffer::New(env, at, n));
	};
	share("slab", r.slab, (size_t)sizes.tx + sizes.rx);
	share("effects", r.effects, sizeof(passt::Record) * sizes.effects);
	share("events", r.events, sizeof(passt::Record) * sizes.events);
	share("clock", r.clock, 2 * sizeof(double));
	return out;
}

Value Turn(const CallbackInfo &info)
{
	const uint32_t n = info[0].IsNumber() ? info[0].As<Napi::Number>().Uint32Value() : 0;
	const double timeout = info[1].IsNumber() ? info[1].As<Napi::Number>().DoubleValue() : 0;
	const int events = engine ? engine->turn(n, timeout) : -1;

	return events < 0 ? fail(info.Env(), "turn before open", EINVAL) : Napi::Number::New(info.Env(), events);
}

Value CarryOut(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "carryOut before open", EINVAL);
	engine->carry_out(info[0].IsNumber() ? info[0].As<Napi::Number>().Uint32Value() : 0);
	return info.Env().Undefined();
}

Value SetTap(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "setTap before open", EINVAL);
	if (const int e = engine->tap_port.use(int_at(info, 0), info[1].ToBoolean().Value()))
		return fail(info.Env(), "setTap", e);
	return Napi::Number::New(info.Env(), engine->tap.offloads);
}

Value WatchNetlink(const CallbackInfo &info)
{
	const int e = engine ? engine->notices.watch((uint32_t)int_at(info, 0)) : EINVAL;
	return e ? fail(info.Env(), "watchNetlink", e) : info.Env().Undefined();
}

Value WatchHost(const CallbackInfo &info)
{
	const int e = engine ? engine->host.watch((uint32_t)int_at(info, 0)) : EINVAL;
	return e ? fail(info.Env(), "watchHost", e) : info.Env().Undefined();
}

Value HostResolver(const CallbackInfo &info)
{
	const int e = engine ? engine->host.resolver(int_at(info, 0)) : EINVAL;
	return e ? fail(info.Env(), "hostResolver", e) : info.Env().Undefined();
}

Value HostArm(const CallbackInfo &info)
{
	const int e = engine ? engine->host.arm((uint32_t)int_at(info, 0)) : EINVAL;
	return Napi::Number::New(info.Env(), e);
}

Value HostAsk(const CallbackInfo &info)
{
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 0, data, len))
		return info.Env().Undefined();
	return Napi::Number::New(info.Env(), engine ? engine->host.ask(data, len) : EINVAL);
}

Value LinkListen(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "linkListen", EINVAL);
	uint32_t mode = 0;
	const passt::Fault r = engine->clients.listen(info[0].ToString().Utf8Value().c_str(), info[1].ToBoolean(), mode);
	return r.err ? fail(info.Env(), "linkListen", r.err, r.text) : Napi::Number::New(info.Env(), mode);
}

Value RepairListen(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "repairListen", EINVAL);
	uint32_t mode = 0;
	const passt::Fault r = engine->migration.repair.listen(info[0].ToString().Utf8Value().c_str(), mode);
	return r.err ? fail(info.Env(), "repairListen", r.err, r.text) : Napi::Number::New(info.Env(), mode);
}

Value RepairAdopt(const CallbackInfo &info)
{
	const int e = engine ? engine->migration.repair.adopt(int_at(info, 0)) : EINVAL;
	return e ? fail(info.Env(), "repairAdopt", e) : info.Env().Undefined();
}

Value LinkOffer(const CallbackInfo &info)
{
	const int e = engine ? engine->clients.offer(int_at(info, 0), info[1].ToBoolean()) : EINVAL;
	return e ? fail(info.Env(), "linkOffer", e) : info.Env().Undefined();
}

/** A descriptor, -ENOENT or -ECONNREFUSED. */
Value HandOverConnect(const CallbackInfo &info)
{
	std::string why;
	const int fd = passt::connect_to_predecessor(info[0].ToString().Utf8Value().c_str(), why);
	if (fd < 0 && fd != -ENOENT && fd != -ECONNREFUSED)
		return fail(info.Env(), "connect", -fd, why);
	return Napi::Number::New(info.Env(), fd);
}

Value HandOverListen(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "handOverListen", EINVAL);
	const passt::Fault r = engine->hand_over.listen(info[0].ToString().Utf8Value().c_str());
	return r.err ? fail(info.Env(), "handOverListen", r.err, r.text) : info.Env().Undefined();
}

Value HandOverAdopt(const CallbackInfo &info)
{
	const int e = engine ? engine->hand_over.adopt(int_at(info, 0)) : EINVAL;
	return e ? fail(info.Env(), "handOverAdopt", e) : info.Env().Undefined();
}

Value ConfListen(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "confListen", EINVAL);
	const passt::Fault r = engine->conf.listen(info[0].ToString().Utf8Value().c_str());
	return r.err ? fail(info.Env(), "confListen", r.err, r.text) : info.Env().Undefined();
}

Value ConfAdopt(const CallbackInfo &info)
{
	const int e = engine ? engine->conf.adopt(int_at(info, 0), info[1].ToString().Utf8Value().c_str()) : EINVAL;
	return e ? fail(info.Env(), "confAdopt", e) : info.Env().Undefined();
}

Value ApiAdopt(const CallbackInfo &info)
{
	const int e = engine ? engine->conf.adopt_api(int_at(info, 0), int_at(info, 1)) : EINVAL;
	return e ? fail(info.Env(), "apiAdopt", e) : info.Env().Undefined();
}

Value ApiServe(const CallbackInfo &info)
{
	const int e = engine ? engine->conf.serve_api(info[0].ToBoolean()) : EINVAL;
	return e ? fail(info.Env(), "apiServe", e) : info.Env().Undefined();
}

Value LinkAdopt(const CallbackInfo &info)
{
	const int e = engine ? engine->clients.adopt(int_at(info, 0), info[1].ToBoolean()) : EINVAL;
	return e ? fail(info.Env(), "linkAdopt", e) : info.Env().Undefined();
}

Value SetOutbound(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "setOutbound before open", EINVAL);
	if (octets_of(info[0], engine->outbound.if4) && octets_of(info[1], engine->outbound.if6))
		return info.Env().Undefined();
	return fail(info.Env(), "setOutbound", EINVAL);
}

Value MemoryOf(const CallbackInfo &info)
{
	const auto handles = info[0].As<Napi::Int32Array>();
	auto out = Napi::Float64Array::New(info.Env(), 2 * handles.ElementLength());

	for (size_t i = 0; engine && i < handles.ElementLength(); i++) {
		const passt::Table::Held held = engine->table.memory_of_handle((uint32_t)handles[i], info[1].ToBoolean().Value());
		out[2 * i] = held.octets;
		out[2 * i + 1] = (double)held.moved;
	}
	return out;
}

Value PairMoved(const CallbackInfo &info)
{
	const auto handles = info[0].As<Napi::Int32Array>();
	auto out = Napi::Float64Array::New(info.Env(), 2 * handles.ElementLength());

	for (size_t i = 0; engine && i < handles.ElementLength(); i++) {
		const passt::Sock *const s = engine->table.sock((uint32_t)handles[i]);
		for (const size_t way : { 0, 1 })
			out[2 * i + way] = s && s->kind == passt::Kind::Splice && s->splice ? (double)s->splice->way[way].moved : 0;
	}
	return out;
}

/** Of a socket's end: its address, its port. */
enum : size_t { END_WORDS = 5 };

Value LocalEnd(const CallbackInfo &info)
{
	uint32_t words[END_WORDS] = {};
	auto out = Napi::Int32Array::New(info.Env(), END_WORDS);

	passt::Table::end_of(int_at(info, 0), words, words[END_WORDS - 1]);
	std::copy(std::begin(words), std::end(words), out.Data());
	return out;
}

Value LocalEnds(const CallbackInfo &info)
{
	const auto handles = info[0].As<Napi::Int32Array>();
	auto out = Napi::Int32Array::New(info.Env(), END_WORDS * handles.ElementLength());

	for (size_t i = 0; engine && i < handles.ElementLength(); i++) {
		uint32_t words[END_WORDS] = {};
		engine->table.local_end((uint32_t)handles[i], words, words[END_WORDS - 1]);
		for (size_t k = 0; k < END_WORDS; k++)
			out[END_WORDS * i + k] = (int32_t)words[k];
	}
	return out;
}

Value SetPorts(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "setPorts before open", EINVAL);
	return Napi::Boolean::New(info.Env(), engine->opener.set_ports((uint16_t)int_at(info, 0), (uint16_t)int_at(info, 1)));
}

Value OpenOutput(const CallbackInfo &info)
{
	int fd = -1;
	const int flags = info[1].ToBoolean().Value() ? O_RDWR | O_NONBLOCK : O_WRONLY;
	const passt::Fault r = passt::open_output(info[0].ToString().Utf8Value().c_str(), flags, fd);
	return r.err ? fail(info.Env(), "open", r.err, r.text) : Napi::Number::New(info.Env(), fd);
}

Value SetPcap(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "setPcap before open", EINVAL);
	const double room = info[2].IsNumber() ? info[2].As<Napi::Number>().DoubleValue() : 0;
	engine->tap.pcap.use(int_at(info, 0), info[1].ToBoolean().Value(), room > 0 ? (uint64_t)room : UINT64_MAX);
	return info.Env().Undefined();
}

Value TakePayload(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "takePayload before open", EINVAL);
	engine->tap.vhost.whole = true;
	return info.Env().Undefined();
}

Value FinishPcap(const CallbackInfo &info)
{
	if (engine)
		engine->tap.pcap.finish();
	return info.Env().Undefined();
}

Value SetCtl(const CallbackInfo &info)
{
	const int e = engine ? engine->pools.set_ctl(int_at(info, 0)) : EINVAL;
	return e ? fail(info.Env(), "setCtl", e) : info.Env().Undefined();
}

/** nullptr: not an Int32Array, exception pending. */
const int32_t *words_at(const CallbackInfo &info, size_t i, size_t &n)
{
	if (!info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
		fail(info.Env(), "Int32Array expected", EINVAL);
		return nullptr;
	}
	const auto a = info[i].As<Napi::Int32Array>();
	static const int32_t none = 0;
	n = a.ElementLength();
	return n ? a.Data() : &none;
}

passt::Kind kind_of(uint32_t proto)
{
	return proto == IPPROTO_TCP ? passt::Kind::Tcp : proto == IPPROTO_UDP ? passt::Kind::Udp : passt::Kind::None;
}

int listen_record(const passt::ListenRecord &r, const std::vector<std::string> &names)
{
	const passt::Kind kind = kind_of(r.protocol);
	passt::ListenAt at = {{}, (uint16_t)r.port, (r.flags & LISTEN_V6ONLY) != 0, (r.flags & LISTEN_FREEBIND) != 0, nullptr};
	if (kind == passt::Kind::None || r.port > 65535 || r.interface > names.size())
		return EINVAL;
	memcpy(at.addr, r.addr, sizeof(at.addr));
	if (r.interface)
		at.device = names[r.interface - 1].c_str();
	if (!(r.flags & LISTEN_IN_NAMESPACE))
		return engine->listeners.listen(r.listener_id, kind, at);
	const int fd = kind == passt::Kind::Udp ? engine->pools.spare(!passt::Target::is_v4(at.addr)) : -EINVAL;
	return fd < 0 ? -fd : engine->listeners.listen_in_namespace(r.listener_id, at, fd);
}

Value Listen(const CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	size_t n = 0;
	const int32_t *const w = words_at(info, 0, n);
	if (!w)
		return env.Undefined();
	if (!engine || !info[1].IsArray() || n % LISTEN_WORDS)
		return fail(env, "listen", EINVAL);
	const auto list = info[1].As<Napi::Array>();
	std::vector<std::string> names;
	for (uint32_t i = 0; i < list.Length(); i++)
		if (names.emplace_back(); !octets_of(list.Get(i), names.back()))
			return fail(env, "listen", EINVAL);
	const std::vector<uint32_t> records(w, w + n);
	Napi::Int32Array out = Napi::Int32Array::New(env, n / LISTEN_WORDS);
	for (size_t i = 0; i < n / LISTEN_WORDS; i++)
		out[i] = listen_record(passt::as<passt::ListenRecord>(&records[i * LISTEN_WORDS]), names);
	return out;
}

Value AdoptListener(const CallbackInfo &info)
{
	const passt::Kind kind = kind_of((uint32_t)int_at(info, 2));
	const int e = engine && kind != passt::Kind::None
			  ? engine->listeners.adopt((uint32_t)int_at(info, 0), int_at(info, 1), kind, (uint32_t)int_at(info, 3))
			  : EINVAL;
	return e ? fail(info.Env(), "adoptListener", e) : info.Env().Undefined();
}

/** With a queue as long as a TCP listener's (behaviour.md#port-forwarding). */
Value UnixListen(const CallbackInfo &info)
{
	enum : int { BACKLOG = 128 };
	int fd = -1;
	uint32_t mode = 0;
	const passt::Fault r = passt::listen_at_path(info[0].ToString().Utf8Value().c_str(), fd, mode, {SOCK_STREAM, 0600, BACKLOG});
	return r.err ? fail(info.Env(), "unixListen", r.err, r.text) : Napi::Number::New(info.Env(), fd);
}

Value CloseListener(const CallbackInfo &info)
{
	return Napi::Boolean::New(info.Env(), engine && engine->listeners.close((uint32_t)int_at(info, 0)));
}

Value PauseListener(const CallbackInfo &info)
{
	return Napi::Boolean::New(info.Env(), engine && engine->listeners.silence((uint32_t)int_at(info, 0)));
}

Value ResumeListener(const CallbackInfo &info)
{
	return Napi::Number::New(info.Env(), engine ? engine->listeners.listen_again((uint32_t)int_at(info, 0)) : EINVAL);
}

Value AddNsSockets(const CallbackInfo &info)
{
	size_t n = 0;
	const int32_t *const fds = words_at(info, 1, n);
	if (!fds)
		return info.Env().Undefined();
	const int e = engine ? engine->add_ns_sockets((uint32_t)int_at(info, 0), fds, n) : EINVAL;
	return e ? fail(info.Env(), "addNsSockets", e) : info.Env().Undefined();
}

Napi::Uint8Array copy_of(Napi::Env env, const void *from, size_t n)
{
	Napi::Uint8Array a = Napi::Uint8Array::New(env, n);
	if (n)
		memcpy(a.Data(), from, n);
	return a;
}

Value SocketFactsOf(const CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	passt::SocketFacts facts;
	std::string device;
	if (const int e = passt::read_facts(int_at(info, 0), facts, device))
		return fail(env, "socketFacts", e);
	Napi::Int32Array words = Napi::Int32Array::New(env, sizeof(facts) / sizeof(int32_t));
	memcpy(words.Data(), &facts, sizeof(facts));
	Napi::Object out = Napi::Object::New(env);
	out.Set("words", words);
	out.Set("device", copy_of(env, device.data(), device.size()));
	return out;
}

Value Netlink(const CallbackInfo &info)
{
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 0, data, len))
		return info.Env().Undefined();
	passt::Netlink netlink;
	std::string answer;
	if (const passt::Fault f = netlink.ask({reinterpret_cast<const char *>(data), len}, answer, SIZE_MAX))
		return fail(info.Env(), "netlink", f.err, f.text);
	return copy_of(info.Env(), answer.data(), answer.size());
}

Value HostAnswer(const CallbackInfo &info)
{
	std::string datagram;
	int e = EINVAL;
	if (engine && engine->host.answer(datagram, e))
		return copy_of(info.Env(), datagram.data(), datagram.size());
	return Napi::Number::New(info.Env(), e);
}

Value HostResolverSaid(const CallbackInfo &info)
{
	std::string text;
	if (engine && engine->host.resolver_said(text))
		return copy_of(info.Env(), text.data(), text.size());
	return info.Env().Null();
}

Value HostTell(const CallbackInfo &info)
{
	const uint8_t *data;
	size_t len;
	if (engine && bytes_at(info, 0, data, len))
		engine->host.tell({reinterpret_cast<const char *>(data), len});
	return info.Env().Undefined();
}

Value CtlSend(const CallbackInfo &info)
{
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 1, data, len))
		return info.Env().Undefined();
	const int e = passt::ctl_send(int_at(info, 0), data, len);
	return e ? fail(info.Env(), "ctlSend", e) : info.Env().Undefined();
}

Napi::Object answer_of(Napi::Env env, const passt::Bytes &answer, const std::vector<int> &passed)
{
	Napi::Object out = Napi::Object::New(env);
	Napi::Array fds = Napi::Array::New(env, passed.size());
	for (size_t i = 0; i < passed.size(); i++)
		fds.Set((uint32_t)i, Napi::Number::New(env, passed[i]));
	out.Set("data", copy_of(env, answer.data(), answer.size()));
	out.Set("fd", Napi::Number::New(env, passed.empty() ? -1 : passed[0]));
	out.Set("fds", fds);
	return out;
}

Value CtlCall(const CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 1, data, len))
		return env.Undefined();
	const int fd = int_at(info, 0);
	passt::Bytes answer;
	std::vector<int> passed;
	int e = passt::ctl_send(fd, data, len);
	do { /* a batch of sockets may stand in front of the answer */
		passed.clear();
		if (!e)
			e = passt::ctl_receive(fd, answer, passed);
	} while (!e && engine && engine->pools.watched() == fd && engine->take_sockets(answer.data(), answer.size(), passed));
	if (e) {
		for (const int one : passed)
			close(one);
		return fail(env, "ctlCall", e);
	}
	return answer_of(env, answer, passed);
}

Value HandOverAsk(const CallbackInfo &info)
{
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 1, data, len))
		return info.Env().Undefined();
	const int e = passt::ask_predecessor(int_at(info, 0), data, len);
	return e ? fail(info.Env(), "ask", e) : info.Env().Undefined();
}

Value HandOverHear(const CallbackInfo &info)
{
	passt::Bytes answer;
	std::vector<int> passed;
	if (const int e = passt::hear_predecessor(int_at(info, 0), int_at(info, 1), answer, passed)) {
		for (const int one : passed)
			close(one);
		return fail(info.Env(), "hear", e);
	}
	return answer_of(info.Env(), answer, passed);
}

Value TapAddress(const CallbackInfo &info)
{
	ifreq r = {};
	if (ioctl(int_at(info, 0), SIOCGIFHWADDR, &r))
		return fail(info.Env(), "tapAddress", errno);
	return copy_of(info.Env(), reinterpret_cast<const uint8_t *>(r.ifr_hwaddr.sa_data), 6);
}

Value CloseHard(const CallbackInfo &info)
{
	passt::close_hard(int_at(info, 0));
	return info.Env().Undefined();
}

Value LinkRest(const CallbackInfo &info)
{
	Napi::Object out = Napi::Object::New(info.Env());
	passt::Link::Rest rest = {};
	uint32_t descriptors = 0;
	if (engine && engine->tap.vhost.on) {
		const passt::Channel &c = engine->vhost.channel;
		rest = {c.message(), c.unsent().data(), c.length(), c.unsent().size()};
		descriptors = c.fd_count;
	} else if (engine && engine->tap.link.fd >= 0) {
		rest = engine->tap.link.rest();
	}
	out.Set("came", copy_of(info.Env(), rest.came, rest.came_len));
	out.Set("descriptors", Napi::Number::New(info.Env(), descriptors));
	out.Set("unsent", copy_of(info.Env(), rest.unsent, rest.unsent_len));
	return out;
}

Value LinkResume(const CallbackInfo &info)
{
	std::string came, unsent;
	if (!engine || !octets_of(info[0], came) || !octets_of(info[1], unsent) || !info[2].IsArray())
		return fail(info.Env(), "linkResume", EINVAL);
	const auto list = info[2].As<Napi::Array>();
	std::vector<int> passed;
	for (uint32_t i = 0; i < list.Length(); i++)
		passed.push_back(list.Get(i).ToNumber().Int32Value());
	engine->clients.resume(std::move(came), std::move(unsent), std::move(passed));
	return info.Env().Undefined();
}

Value VhostHeld(const CallbackInfo &info)
{
	const std::vector<uint64_t> words = engine ? engine->vhost.held() : std::vector<uint64_t>{};
	return copy_of(info.Env(), words.data(), words.size() * sizeof(uint64_t));
}

Value Now(const CallbackInfo &info)
{
	return Napi::Number::New(info.Env(), Engine::now_ms());
}

Value OpenSyslog(const CallbackInfo &info)
{
	const std::string path = info[0].ToString().Utf8Value();
	return Napi::Number::New(info.Env(), passt::open_syslog(path.c_str()));
}

Value WriteNow(const CallbackInfo &info)
{
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 1, data, len))
		return info.Env().Undefined();
	return Napi::Number::New(info.Env(), passt::write_now(int_at(info, 0), data, len));
}

Value Collapse(const CallbackInfo &info)
{
	const auto at = [&](size_t i) { return info[i].IsNumber() ? info[i].As<Napi::Number>().Int64Value() : -1; };
	return Napi::Number::New(info.Env(), passt::collapse(int_at(info, 0), at(1), at(2)));
}

Value Detach(const CallbackInfo &info)
{
	const int e = passt::detach(int_at(info, 0));
	return e ? fail(info.Env(), "detach", e) : info.Env().Undefined();
}

Value DropPrivileges(const CallbackInfo &info)
{
	const int uid = int_at(info, 0), gid = int_at(info, 1);
	int e = engine && uid >= 0 ? engine->listeners.give((uint32_t)uid, (uint32_t)gid) : 0;
	if (!e)
		e = passt::drop_privileges(uid, gid);
	return e ? fail(info.Env(), "dropPrivileges", e) : info.Env().Undefined();
}

/** (bind, connect): TCP. */
Value Confine(const CallbackInfo &info)
{
	const int e = passt::confine({info[0].ToBoolean(), true, info[1].ToBoolean(), false});
	return e ? fail(info.Env(), "confine", e) : info.Env().Undefined();
}

/** False: this kernel has no filters. */
Value Seal(const CallbackInfo &info)
{
	const int e = passt::seal();
	return e && e != ENOSYS ? fail(info.Env(), "seal", e) : Napi::Boolean::New(info.Env(), !e);
}

/** In the process of the API. (fd of its stream) */
Value ApiListener(const CallbackInfo &info)
{
	return Napi::Number::New(info.Env(), passt::receive_listener(int_at(info, 0)));
}

/** The same. (uid, gid: -1 = as they are) */
Value ConfineApi(const CallbackInfo &info)
{
	int e = passt::drop_privileges(int_at(info, 0), int_at(info, 1));
	if (!e)
		e = passt::confine({});
	if (!e)
		e = passt::seal_api();
	return e && e != ENOSYS ? fail(info.Env(), "confineApi", e) : info.Env().Undefined();
}

/** (fd of a UNIX socket that was accepted) */
Value PeerUser(const CallbackInfo &info)
{
	ucred who = {};
	return Napi::Number::New(info.Env(), passt::read_peer(int_at(info, 0), who) ? (double)who.uid : -1);
}

/** Without Node's own end, which needs system calls that we have given up. */
Value Exit(const CallbackInfo &info)
{
	_exit(int_at(info, 0));
}

Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	const auto add = [&](const char *name, Value (*f)(const CallbackInfo &)) {
		exports.Set(name, Napi::Function::New(env, f, name));
	};
	/* Never in a terminal's foreground process group, and not to be stopped for what we say there (stty tostop) */
	signal(SIGTTOU, SIG_IGN);
	/* Node's inspector, if the launcher could not see to it (confine.h) */
	signal(SIGUSR1, SIG_IGN);
	passt::close_to_others();
	add("open", Open);
	add("turn", Turn);
	add("carryOut", CarryOut);
	add("setTap", SetTap);
	add("linkListen", LinkListen);
	add("linkOffer", LinkOffer);
	add("repairListen", RepairListen);
	add("confListen", ConfListen);
	add("confAdopt", ConfAdopt);
	add("apiAdopt", ApiAdopt);
	add("apiServe", ApiServe);
	add("handOverConnect", HandOverConnect);
	add("handOverListen", HandOverListen);
	add("handOverAdopt", HandOverAdopt);
	add("handOverAsk", HandOverAsk);
	add("handOverHear", HandOverHear);
	add("linkAdopt", LinkAdopt);
	add("repairAdopt", RepairAdopt);
	add("linkRest", LinkRest);
	add("tapAddress", TapAddress);
	add("closeHard", CloseHard);
	add("linkResume", LinkResume);
	add("vhostHeld", VhostHeld);
	add("setOutbound", SetOutbound);
	add("openOutput", OpenOutput);
	add("setPorts", SetPorts);
	add("memoryOf", MemoryOf);
	add("pairMoved", PairMoved);
	add("localEnds", LocalEnds);
	add("localEnd", LocalEnd);
	add("setPcap", SetPcap);
	add("takePayload", TakePayload);
	add("finishPcap", FinishPcap);
	add("setCtl", SetCtl);
	add("watchNetlink", WatchNetlink);
	add("netlink", Netlink);
	add("watchHost", WatchHost);
	add("hostResolver", HostResolver);
	add("hostArm", HostArm);
	add("hostAsk", HostAsk);
	add("hostAnswer", HostAnswer);
	add("hostResolverSaid", HostResolverSaid);
	add("hostTell", HostTell);
	add("ctlSend", CtlSend);
	add("ctlCall", CtlCall);
	add("listen", Listen);
	add("adoptListener", AdoptListener);
	add("unixListen", UnixListen);
	add("socketFacts", SocketFactsOf);
	add("closeListener", CloseListener);
	add("pauseListener", PauseListener);
	add("resumeListener", ResumeListener);
	add("addNsSockets", AddNsSockets);
	add("openSyslog", OpenSyslog);
	add("writeNow", WriteNow);
	add("collapse", Collapse);
	add("now", Now);
	add("detach", Detach);
	add("dropPrivileges", DropPrivileges);
	add("confine", Confine);
	add("seal", Seal);
	add("apiListener", ApiListener);
	add("confineApi", ConfineApi);
	add("peerUser", PeerUser);
	add("exit", Exit);
	return exports;
}

} // namespace

NODE_API_MODULE(passt, Init)
