#include "node.h"

#include "engine-options.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <sys/auxv.h>
#include <unistd.h>

#ifndef NODE_PATH
#define NODE_PATH "node"
#endif

std::string bundlePath(const char *name)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n <= 0) { // no /proc
		const auto given = reinterpret_cast<const char *>(getauxval(AT_EXECFN));
		n = given && realpath(given, exe) ? static_cast<ssize_t>(strlen(exe)) : 0;
	}
	const std::string path(exe, static_cast<size_t>(n));
	const size_t slash = path.rfind('/');
	return slash == std::string::npos ? "" : path.substr(0, slash) + "/../dist/" + name;
}

/** The caller's choice, "" = none. With capabilities of a file we have rights that whoever wrote the environment has not. */
static std::string chosen()
{
	const char *const node = getauxval(AT_SECURE) ? nullptr : getenv("PASST_NODE");
	return node ? node : "";
}

std::string nodeProgram()
{
	const std::string own = chosen();
	return own.empty() ? NODE_PATH : own;
}

/** Variables of the caller's with these names, whole. */
static void collect(std::initializer_list<const char *> names, std::vector<char *> &out)
{
	for (const char *const name : names)
		for (char **e = environ; *e; e++)
			if (const size_t len = strlen(name); strncmp(*e, name, len) == 0 && (*e)[len] == '=')
				out.push_back(*e);
}

std::vector<char *> takeListenFds()
{
	std::vector<char *> out;
	const char *pid = getenv("LISTEN_PID");
	if (pid && std::to_string(getpid()) == pid)
		collect({ "LISTEN_FDS", "LISTEN_FDNAMES" }, out);
	for (const char *const name : { "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES" })
		unsetenv(name);
	return out;
}

/** Of the caller's the allowed names only, which the command gets whole; and what is about descriptors. */
static std::vector<char *> environment(const std::vector<char *> &listenFds, bool reports)
{
	std::vector<char *> out = listenFds;
	collect({ ENGINE_ALLOWED }, out);
	for (const char *const own : { ENGINE_ENVIRONMENT })
		out.push_back(const_cast<char *>(own));
	if (reports)
		out.push_back(const_cast<char *>(ENGINE_REPORTS));
	out.push_back(nullptr);
	return out;
}

int becomeNode(const std::string &node, std::vector<char *> argv, const std::vector<char *> &listenFds, bool reports)
{
	const std::vector<char *> env = environment(listenFds, reports);
	argv.push_back(nullptr);
	execvpe(node.c_str(), argv.data(), env.data());
	int err = errno;
	if (err == ENOENT && chosen().empty() && !getauxval(AT_SECURE)) {
		execvpe("node", argv.data(), env.data());
		err = errno;
	}
	return err;
}
