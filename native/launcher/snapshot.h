/* dist/engine.blob: V8's heap as it is once engine.cjs has run, so that a start need not run all of that again.
 *
 * It fits the Node that made it, on that kind of processor, and no other: Node would refuse to start. So a stamp lies beside
 * it (engine.stamp, made by build/Release/passt-stamp), and where that differs the engine starts from engine.cjs. */
#ifndef PASST_LAUNCHER_SNAPSHOT_H
#define PASST_LAUNCHER_SNAPSHOT_H

#include <string>

/**
 * What the snapshot in file `blob` depends on: the file `node`, what V8 asks of the processor, and that it is whole, since Node crashes
 * on half of one. "" when either file is missing.
 */
std::string stampOf(const std::string &node, const std::string &blob);
/** The snapshot in `dist` for `node`; "" when there is none that fits. */
std::string snapshotFor(const std::string &dist, const std::string &node);

#endif
