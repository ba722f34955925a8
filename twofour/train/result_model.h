// What a run made of a model: a directory that the run half opens, or its engine without one.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"
#include "twofour/metrics/ranking.h"
#include "twofour/runtime/engine.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

struct ResultModel {
  const ModelDirectory&
      source;  // tokenizer and small files are copied from it; its config with the head is kept
  const Network& network;
  const ParameterMap& parameters;
  std::vector<float> scales =
      {};  // by quantization point: prunable layers become int8; empty: everything stays f32
  int weight_bits = 8;                           // of the layers that become int8
  std::vector<std::string> sparse_weights = {};  // must be 2:4 in what is written, else Error
  std::string twofour_json = {};
};

void write_result_model(const std::filesystem::path& path, const ResultModel& model);

// What the run half makes of it, without a file between them: on the CPU, int8 as the scales say,
// the rest in f32, whatever the environment asks of other engines, but for TWOFOUR_FORCE_KERNEL and
// TWOFOUR_MAX_ISA. Throws Error as Engine::load does.
std::shared_ptr<const Engine> load_result_model(const ResultModel& model);

// What twofour.json tells about a model.
struct ResultDescription {
  std::string recipe = {};       // its name; empty: no recipe
  std::string recipe_yaml = {};  // resolved
  bool int8 = false;
  int weight_bits = 8;           // of int8 weights
  std::string calibration = {};  // method; empty: none
  double sparsity = 0;           // share of zeros over the prunable weights
  int share_rows = 1;
  int64_t steps = 0;
  Metrics dev = {};
};

// `before` is the twofour.json of the model that it came from, whose other members are kept; may be
// empty.
std::string describe_result(const ResultDescription& result, const std::string& before = {});

}  // namespace twofour
