// Runs a recipe: stages of pruning, calibration and training, with checkpoints, a log and a model
// directory at the end.
#pragma once

#include "twofour/base/progress.h"
#include "twofour/train/api.h"

namespace twofour {

// In request.out:
//
//   checkpoint/    while the run is not finished; see checkpoint.h
//   log.jsonl      see run_log.h
//   model/         the result; twofour.json tells recipe, scheme and dev metrics
//   summary.json   of a finished run
//
// Several processes train together where the environment says so (process_options in
// process_group.h). They read the same files and see the same request.out. Of the micro-batches of
// a step, rank r of n processes takes number r, r + n and so on; gradients are summed, so that all
// make the steps that one process would make. Each says for whom it waits at the start; from then
// on rank 0 alone evaluates, writes, logs and tells of progress. A stop that one of them is asked
// for is a stop of all, also at the start, when nothing has begun.
//
// On a GPU (request.device) the model, its gradients and the optimizer's moments are there; masks,
// checkpoints, what ranking metrics evaluate and what several processes sum are copies in host
// memory. Masks of equal weights are those of a CPU; dropout draws other numbers.
//
// A deterministic run (request.deterministic) that was killed at any moment and is resumed writes
// the same bytes into model/ as one that was not, on the same machine with the same number of
// threads and processes. Throws Error, before anything is written, for requests that cannot work:
// files that do not fit each other, a folder that holds another run or anything else or that
// another process works on, a run to resume that is not there or whose recipe, model or data has
// changed (of a deterministic one also the GPU, or the number of threads or processes), a GPU that
// cannot be used, an environment that names no group of processes, a recipe whose micro-batches
// they cannot share evenly.
TrainSummary run_training(const TrainRequest& request, const Callbacks& callbacks);

}  // namespace twofour
