// The folder of a run: what stands in it, and whether it may be used.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "twofour/train/api.h"
#include "twofour/train/checkpoint.h"

namespace twofour {

// Keeps other processes out of a run's folder, by a lock on its log: it goes with the process,
// however that ends. File systems without locks have none.
class RunLock {
 public:
  // Takes the lock of a log that is there. Throws Error if another process holds it.
  explicit RunLock(const std::filesystem::path& log);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  // Makes the log that was not there. Throws Error if another process was first.
  void make();

 private:
  void take(int flags);

  std::filesystem::path log_;
  int descriptor_ = -1;
  bool absent_ = false;
};

class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path checkpoint() const { return path_ / "checkpoint"; }
  std::filesystem::path log() const { return path_ / "log.jsonl"; }
  std::filesystem::path model() const { return path_ / "model"; }
  std::filesystem::path summary() const { return path_ / "summary.json"; }

  // Repairs what a kill amid a write left, so that what is read next is whole.
  void recover() const;

  // Throws Error if there is no run to resume or, where `resume` is false, if the folder holds a
  // run or anything else, and if nothing can be written there, or model/ holds what its result
  // would not replace. An empty log is no run: a process that starts at the same moment may have
  // made it.
  void check(bool resume) const;

  // The summary of a run that is done; nothing if it is not, or if a checkpoint can write its model
  // again. Throws Error if it was another run, or if its model has gone.
  std::optional<TrainSummary> finished(const Fingerprint& fingerprint,
                                       const Sources& sources) const;

  // Where to go on; nothing if no checkpoint was written yet. Throws Error if it is that of another
  // run.
  std::optional<Checkpoint> checkpoint_of(const Fingerprint& fingerprint,
                                          const Sources& sources) const;

  // Writes the summary, then removes the checkpoint, which holds several times the model.
  void finish(const TrainSummary& summary, const Fingerprint& fingerprint) const;

 private:
  bool lost_model() const;
  // What to do about a damaged summary.
  std::string summary_remedy() const;
  // What the folder holds beside a log: the first name in order; empty: nothing.
  std::string foreign_name() const;

  std::filesystem::path path_;
};

}  // namespace twofour
