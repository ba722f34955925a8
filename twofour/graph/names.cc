#include "twofour/graph/network.h"

namespace twofour {

std::string_view op_kind_name(OpKind kind) {
  switch (kind) {
    case OpKind::kEmbedding:
      return "embedding";
    case OpKind::kLinear:
      return "linear";
    case OpKind::kAttention:
      return "attention";
    case OpKind::kLayerNorm:
      return "layer_norm";
    case OpKind::kActivation:
      return "activation";
    case OpKind::kAdd:
      return "add";
    case OpKind::kPool:
      return "pool";
    case OpKind::kNormalize:
      return "normalize";
  }
  return "unknown";
}

std::string_view activation_name(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kGelu:
      return "gelu";
    case ActivationKind::kGeluTanh:
      return "gelu_tanh";
    case ActivationKind::kRelu:
      return "relu";
    case ActivationKind::kTanh:
      return "tanh";
  }
  return "unknown";
}

}  // namespace twofour
