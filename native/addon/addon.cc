/* What JS sees: interface Native in src/runtime/abi.ts. Nothing but conversion; the work is in engine.h and its files.
 * Built without C++ exceptions: a failed call leaves a JS exception pending and returns undefined. */
#include "ctl.h"
#include "engine.h"
#include "isolate.h"
#include "netlink.h"

#include <cstring>
#include <napi.h>
#include <string>
#include <unistd.h>

namespace {

using Napi::CallbackInfo;
using Napi::Value;
using passt::Engine;

Engine *engine;

/** Error with `.errno` (positive) and `.code`; returns undefined. */
Value fail(Napi::Env env, const char *what, int error)
{
	const char *const name = strerrorname_np(error);
	const std::string code = name ? name : std::to_string(error);
	Napi::Error e = Napi::Error::New(env, std::string(what) + ": " + code + ", " + strerror(error));

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
	share("clock", r.clock, sizeof(double));
	return out;
}

Value Turn(const CallbackInfo &info)
{
	const uint32_t n = info[0].IsNumber() ? info[0].As<Napi::Number>().Uint32Value() : 0;
	const double timeout = info[1].IsNumber() ? info[1].As<Napi::Number>().DoubleValue() : 0;
	const int events = engine ? engine->turn(n, timeout) : -1;

	return events < 0 ? fail(info.Env(), "turn before open", EINVAL) : Napi::Number::New(info.Env(), events);
}

Value SetTap(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "setTap before open", EINVAL);
	if (const int e = engine->set_tap(int_at(info, 0), info[1].ToBoolean().Value()))
		return fail(info.Env(), "setTap", e);
	return Napi::Number::New(info.Env(), engine->tap.offloads);
}

Value SetOutbound(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "setOutbound before open", EINVAL);
	engine->outbound.if4 = info[0].ToString().Utf8Value();
	engine->outbound.if6 = info[1].ToString().Utf8Value();
	return info.Env().Undefined();
}

Value SetPcap(const CallbackInfo &info)
{
	if (!engine)
		return fail(info.Env(), "setPcap before open", EINVAL);
	engine->tap.pcap.use(int_at(info, 0));
	return info.Env().Undefined();
}

Value SetCtl(const CallbackInfo &info)
{
	const int e = engine ? engine->set_ctl(int_at(info, 0)) : EINVAL;
	return e ? fail(info.Env(), "setCtl", e) : info.Env().Undefined();
}

Napi::Uint8Array copy_of(Napi::Env env, const passt::Bytes &b)
{
	Napi::Uint8Array a = Napi::Uint8Array::New(env, b.size());
	if (!b.empty())
		memcpy(a.Data(), b.data(), b.size());
	return a;
}

Value Netlink(const CallbackInfo &info)
{
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 0, data, len))
		return info.Env().Undefined();
	std::vector<passt::Bytes> answer;
	if (const int e = passt::netlink_exchange(data, len, answer))
		return fail(info.Env(), "netlink", e);
	Napi::Array out = Napi::Array::New(info.Env(), answer.size());
	for (size_t i = 0; i < answer.size(); i++)
		out.Set((uint32_t)i, copy_of(info.Env(), answer[i]));
	return out;
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

Value CtlCall(const CallbackInfo &info)
{
	const Napi::Env env = info.Env();
	const uint8_t *data;
	size_t len;
	if (!bytes_at(info, 1, data, len))
		return env.Undefined();
	passt::Bytes answer;
	int passed = -1, e = passt::ctl_send(int_at(info, 0), data, len);
	if (!e)
		e = passt::ctl_receive(int_at(info, 0), answer, &passed);
	if (e) {
		if (passed >= 0)
			close(passed);
		return fail(env, "ctlCall", e);
	}
	Napi::Object out = Napi::Object::New(env);
	out.Set("data", copy_of(env, answer));
	out.Set("fd", Napi::Number::New(env, passed));
	return out;
}

Value Now(const CallbackInfo &info)
{
	return Napi::Number::New(info.Env(), Engine::now_ms());
}

Value Detach(const CallbackInfo &info)
{
	const int e = passt::detach();
	return e ? fail(info.Env(), "detach", e) : info.Env().Undefined();
}

Value DropPrivileges(const CallbackInfo &info)
{
	const int e = passt::drop_privileges(int_at(info, 0), int_at(info, 1));
	return e ? fail(info.Env(), "dropPrivileges", e) : info.Env().Undefined();
}

Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	const auto add = [&](const char *name, Value (*f)(const CallbackInfo &)) {
		exports.Set(name, Napi::Function::New(env, f, name));
	};
	add("open", Open);
	add("turn", Turn);
	add("setTap", SetTap);
	add("setOutbound", SetOutbound);
	add("setPcap", SetPcap);
	add("setCtl", SetCtl);
	add("netlink", Netlink);
	add("ctlSend", CtlSend);
	add("ctlCall", CtlCall);
	add("now", Now);
	add("detach", Detach);
	add("dropPrivileges", DropPrivileges);
	return exports;
}

} // namespace

NODE_API_MODULE(passt, Init)
