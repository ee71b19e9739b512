/* dist/engine.blob: V8's heap as it is once engine.cjs has run, so that a start need not run all of that again.
 *
 * It fits the Node that made it, on that kind of processor, and no other: Node would refuse to start. So a stamp lies beside
 * it (engine.stamp, made by build/Release/passt-stamp), and where that differs the engine starts from engine.cjs. */
#ifndef PASST_LAUNCHER_SNAPSHOT_H
#define PASST_LAUNCHER_SNAPSHOT_H

#include <string>

/** What a snapshot depends on: the file `node`, and what V8 asks of the processor. "" when there is no such file. */
std::string stampOf(const std::string &node);
/** The snapshot in `dist` for `node`; "" when there is none that fits. */
std::string snapshotFor(const std::string &dist, const std::string &node);

#endif
