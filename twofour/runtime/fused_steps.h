// The steps in which an engine executes a network, whatever the device: ops with what is fused into
// them, in order, and when each value is needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"

namespace twofour {

// An op with what is fused into it.
struct FusedStep {
  const Op* op = nullptr;       // in Network::ops
  ValueId residual = kNoValue;  // kLayerNorm: added to the input first
  ValueId input = kNoValue;     // first input, after fusion
  ValueId output = kNoValue;    // after fusion
  // kLinear: the layers computed in one product, results side by side; [op] for most.
  std::vector<const Op*> parts;
  std::optional<ActivationKind> activation;  // kLinear: fused behind it
  bool int8 = false;                         // kLinear

  std::vector<ValueId> inputs() const;
  // "layer.0.attention.query+key+value"
  std::string name() const;
};

struct FusedNetwork {
  std::vector<FusedStep> steps;
  // Of each value's quantized form; 0: nobody reads it quantized. Where activations are dynamic
  // any other number says that somebody does.
  std::vector<float> scales;
};

// Throws Error: readers of one value that disagree about its scale.
FusedNetwork fuse(const Network& network, const ModelDirectory& model);

// The index of the last step that reads or writes each value; steps.size() for the network's
// output.
std::vector<size_t> last_uses(const Network& network, const std::vector<const FusedStep*>& steps);

// Whether a step reads it as it is rather than quantized, or it is the network's output.
bool read_as_float(const Network& network, const std::vector<const FusedStep*>& steps,
                   ValueId value);

// A piece of the arena, reused by values that do not live at the same time.
struct Slot {
  Rows rows = Rows::kTokens;
  int64_t row_bytes = 0;
};

// Deals slots to values.
class SlotPool {
 public:
  // A slot that is taken until step `last_use` has run.
  int take(Rows rows, int64_t row_bytes, size_t last_use);
  // Step `step` has run.
  void release(size_t step);
  const std::vector<Slot>& slots() const { return slots_; }

 private:
  std::vector<Slot> slots_;
  std::vector<bool> free_;
  std::vector<size_t> busy_until_;
};

}  // namespace twofour
