// Starts the epilogue kernel: epilogue.h says what it computes.
#pragma once

#include <optional>

#include "twofour/backend/cuda/epilogue.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// Enqueues it on `stream` of the current device. `input` is kI32, kF16 or kBF16, `output` kI8, kF16
// or kBF16, `activation` nothing, kRelu or kGelu; all pointers are to device memory. Throws Error
// for any other type or activation, where n, a stride or an address breaks epilogue.h's alignment,
// where output_scale is not finite and above 0, and in a build without CUDA.
void run_epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                  const EpilogueArgs& args, StreamHandle stream);

// Throws the errors of run_epilogue() that need no device.
void check_epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                    const EpilogueArgs& args);

// A kernel's address for one combination of types and activation is found by this in the .cu file
// and its host twin by tests: calls body.template operator()<activation, In, Out>().
template <class Body>
void with_epilogue_types(DType input, DType output, std::optional<ActivationKind> activation,
                         Body&& body) {
  const auto with_activation = [&]<class In, class Out>() {
    if (!activation) return body.template operator()<EpilogueActivation::kNone, In, Out>();
    if (*activation == ActivationKind::kRelu)
      return body.template operator()<EpilogueActivation::kRelu, In, Out>();
    return body.template operator()<EpilogueActivation::kGelu, In, Out>();
  };
  const auto with_output = [&]<class In>() {
    if (output == DType::kI8) return with_activation.template operator()<In, int8_t>();
    if (output == DType::kF16) return with_activation.template operator()<In, F16>();
    return with_activation.template operator()<In, Bf16>();
  };
  if (input == DType::kI32) return with_output.template operator()<int32_t>();
  if (input == DType::kF16) return with_output.template operator()<F16>();
  return with_output.template operator()<Bf16>();
}

}  // namespace twofour::cuda
