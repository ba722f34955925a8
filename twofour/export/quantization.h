// What the file of an int8 model says about the quantized values of its network.
#pragma once

#include <cstdint>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"

namespace twofour {

struct QuantizedValue {
  float scale = 0;  // 0: nobody reads the value quantized
  bool clip =
      false;  // x / scale may fall below -127.5, which ONNX rounds to -128 and the engine to -127
};

bool is_int8(const Network& network, const Op& op, const ModelDirectory& model);

// As Network::values. Throws Error where readers of one value disagree about its scale.
std::vector<QuantizedValue> quantized_values(const Network& network, const ModelDirectory& model);

// The least that `value` can be, whatever the input; minus infinity where nothing is known.
double lower_bound(const Network& network, ValueId value, const ModelDirectory& model);

}  // namespace twofour
