// Starts the epilogue kernel: epilogue.h says what it computes.
#pragma once

#include <optional>

#include "twofour/backend/cuda/epilogue.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/dtype.h"
#include "twofour/graph/network.h"

namespace twofour::cuda {

// Enqueues it on `stream` of the current device. `input` is kI32 or a float type, `output` kI8,
// kF8E4M3 or a float type: kF16, kBF16 or kF32; all pointers are to device memory. Throws Error for
// any other type, where n, a stride or an address breaks epilogue.h's alignment, where output_scale
// is not finite and above 0, and in a build without CUDA.
void run_epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                  const EpilogueArgs& args, StreamHandle stream);

// Throws the errors of run_epilogue() that need no device.
void check_epilogue(DType input, DType output, const EpilogueArgs& args);

// Calls body.template operator()<activation, In, Out>() for one combination.
template <class Body>
void with_epilogue_types(DType input, DType output, std::optional<ActivationKind> activation,
                         const Body& body) {
  const auto with_activation = [&]<class In, class Out>() {
    using enum EpilogueActivation;
    if (!activation) return body.template operator()<kNone, In, Out>();
    switch (*activation) {
      case ActivationKind::kGelu:
        return body.template operator()<kGelu, In, Out>();
      case ActivationKind::kGeluTanh:
        return body.template operator()<kGeluTanh, In, Out>();
      case ActivationKind::kRelu:
        return body.template operator()<kRelu, In, Out>();
      case ActivationKind::kTanh:
        return body.template operator()<kTanh, In, Out>();
    }
  };
  const auto with_output = [&]<class In>() {
    if (output == DType::kI8) return with_activation.template operator()<In, int8_t>();
    if (output == DType::kF8E4M3) return with_activation.template operator()<In, E4m3>();
    with_float_type(output, [&]<class Out>() { with_activation.template operator()<In, Out>(); });
  };
  if (input == DType::kI32) return with_output.template operator()<int32_t>();
  with_float_type(input, [&]<class In>() { with_output.template operator()<In>(); });
}

}  // namespace twofour::cuda
