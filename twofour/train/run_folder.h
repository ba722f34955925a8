// The folder of a run: what stands in it, and whether it may be used.
#pragma once

#include <filesystem>
#include <optional>

#include "twofour/train/api.h"
#include "twofour/train/checkpoint.h"

namespace twofour {

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
  // run or anything else, and if nothing can be written there.
  void check(bool resume) const;

  // The summary of a run that is done; nothing if it is not. Throws Error if it was another run.
  std::optional<TrainSummary> finished(const Fingerprint& fingerprint) const;

  // Where to go on; nothing if no checkpoint was written yet. Throws Error if it is that of another
  // run.
  std::optional<Checkpoint> checkpoint_of(const Fingerprint& fingerprint) const;

  // Writes the summary, then removes the checkpoint, which holds several times the model.
  void finish(const TrainSummary& summary, const Fingerprint& fingerprint) const;

 private:
  void check_writable() const;
  // What the folder holds beside a run: the first name in order; empty: nothing.
  std::string foreign_name() const;

  std::filesystem::path path_;
};

}  // namespace twofour
