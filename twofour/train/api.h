// What the command asks of the training library, which it opens at run time. No LibTorch in this
// header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "twofour/base/progress.h"
#include "twofour/metrics/ranking.h"
#include "twofour/quant/calibrator.h"

namespace twofour {

struct TrainRequest {
  std::filesystem::path recipe;  // YAML
  std::filesystem::path model;   // float model directory; an int8 one is trained as floats
  std::filesystem::path
      teacher;  // empty: the recipe has no distillation, or `model` itself teaches
  std::filesystem::path train_data;  // see io/dataset.h
  std::filesystem::path dev_data;    // may be empty: no selection by dev
  std::filesystem::path out;         // run folder: checkpoint/, log.jsonl, model/ (the result)
  bool resume = false;
  int64_t max_steps = 0;       // 0: as the recipe says
  int threads = 0;             // 0: all cores
  std::string device = "cpu";  // "cuda:1", or "cuda": see training_device.h
  bool deterministic = true;
  int64_t checkpoint_every = 200;                // steps
  std::map<std::string, std::string> overrides;  // "seed" -> "3", "stages.0.steps" -> "100"
};

// Whatever this machine and this build have.
inline constexpr const char* kTrainingDevices = "There are: cpu, cuda, cuda:0, cuda:1, ...";

struct TrainSummary {
  bool begun = true;      // false: stopped while it waited for the other processes
  bool finished = false;  // false: stopped on request, resumable
  int64_t steps = 0;
  double seconds = 0;
  double pairs_per_second = 0;
  double sparsity = 0;
  Metrics dev;  // of the model that was written
  std::filesystem::path model;
  int rank = 0;  // of this process among those that train together; only 0 writes files
  int processes = 1;
};

struct CalibrateRequest {
  std::filesystem::path model;
  std::filesystem::path data;
  std::filesystem::path out;  // int8 model directory
  CalibrationMethod method;
  int64_t batches = 32;
  int64_t batch_pairs = 64;
  int64_t max_length = 128;
  uint64_t seed = 1;
  int threads = 0;
};

class TrainApi {
 public:
  virtual ~TrainApi() = default;
  virtual std::string version() const = 0;  // of LibTorch
  virtual std::string cuda() const = 0;     // the GPUs that it can use, or why none
  virtual TrainSummary train(const TrainRequest& request, const Callbacks& callbacks) = 0;
  virtual void calibrate(const CalibrateRequest& request, const Callbacks& callbacks) = 0;
};

// Opens libtwofour_train.so beside the command, or in ../lib, or where TWOFOUR_TRAIN_LIBRARY says.
// Throws Error with the remedy when it is absent or LibTorch cannot be loaded. Thread-safe; the
// library stays open. (cli/ implements this.)
TrainApi& train_api();

// The symbol that the library exports.
inline constexpr const char* kTrainApiSymbol = "twofour_train_api_v1";
using TrainApiFunction = TrainApi* (*)();

}  // namespace twofour
