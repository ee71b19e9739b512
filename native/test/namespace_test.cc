/* Which namespaces the launcher joins. */
#include "harness.h"

#include "../launcher/namespace.h"

TEST(a_namespace_that_a_path_names_is_opened_whatever_was_on_the_stack)
{
	Watch watch;
	JoinOrder order; /* as the early tap's helper fills it in: a path, and no process */
	order.netns = "/no/such";
	CHECK(joinNamespaces(order, watch).text == "Cannot open network namespace /no/such: No such file or directory");
	CHECK(order.pid == 0 && !order.noQuit);
}
