/* libFuzzer inside Node: hands each input to a function of JavaScript and looks at counters that the bundle raises
 * (fuzz/bundle.mjs). https://llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library". */
#include <napi.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*once)(const uint8_t *, size_t));
extern "C" void __sanitizer_cov_8bit_counters_init(uint8_t *begin, uint8_t *end);
extern "C" void __sanitizer_cov_pcs_init(const uintptr_t *begin, const uintptr_t *end);

namespace {

Napi::FunctionReference target;

/** An exception is a finding: abort() makes libFuzzer keep the input. */
int once(const uint8_t *data, size_t len)
{
	const Napi::Env env = target.Env();
	const Napi::HandleScope scope(env);

	target.Call({Napi::Buffer<uint8_t>::Copy(env, data, len)});
	if (env.IsExceptionPending()) {
		const Napi::Error e = env.GetAndClearPendingException();
		fprintf(stderr, "%s\n", e.Get("stack").ToString().Utf8Value().c_str());
		abort();
	}
	return 0;
}

/** run(arguments of libFuzzer, counters: Uint8Array, target: (data: Buffer) => void). Does not return: libFuzzer exits. */
Napi::Value run(const Napi::CallbackInfo &info)
{
	static std::vector<std::string> args{"fuzz"};
	static std::vector<char *> argv;
	static std::vector<uintptr_t> pcs;
	const auto given = info[0].As<Napi::Array>();
	auto counters = info[1].As<Napi::Uint8Array>();

	for (uint32_t i = 0; i < given.Length(); i++)
		args.push_back(given.Get(i).ToString());
	for (std::string &a : args)
		argv.push_back(a.data());
	argv.push_back(nullptr);
	__sanitizer_cov_8bit_counters_init(counters.Data(), counters.Data() + counters.ByteLength());
	/* Places in the code, for the count of those reached: any two that differ do */
	for (size_t i = 0; i < counters.ByteLength(); i++)
		pcs.insert(pcs.end(), {i + 1, 0});
	__sanitizer_cov_pcs_init(pcs.data(), pcs.data() + pcs.size());
	target = Napi::Persistent(info[2].As<Napi::Function>());
	int argc = (int)args.size();
	char **list = argv.data();
	return Napi::Number::New(info.Env(), LLVMFuzzerRunDriver(&argc, &list, once));
}

Napi::Object init(Napi::Env env, Napi::Object exports)
{
	exports.Set("run", Napi::Function::New(env, run));
	return exports;
}

} // namespace

NODE_API_MODULE(driver, init)
