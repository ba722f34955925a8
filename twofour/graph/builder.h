// Appends operations to a Network under construction. For the builders of network families only.
#pragma once

#include <string>
#include <vector>

#include "twofour/graph/network.h"

namespace twofour {

class NetworkBuilder {
 public:
  explicit NetworkBuilder(std::string architecture) {
    network_.architecture = std::move(architecture);
  }

  Network& network() { return network_; }
  Network take() { return std::move(network_); }

  ValueId embedding(const std::string& name, const std::vector<Parameter>& tables);
  // Parameters "<name>.weight" [n, width of x] and "<name>.bias" [n].
  ValueId linear(const std::string& name, ValueId x, int64_t n, bool prunable, double dropout = 0);
  ValueId attention(const std::string& name, const std::string& output, ValueId q, ValueId k,
                    ValueId v, int64_t heads, double dropout);
  ValueId add(const std::string& name, ValueId a, ValueId b);
  ValueId layer_norm(const std::string& name, ValueId x, double epsilon, double dropout = 0);
  ValueId activation(const std::string& name, ValueId x, ActivationKind kind, double dropout = 0);
  ValueId pool(const std::string& name, ValueId x, Pooling pooling);
  ValueId normalize(const std::string& name, ValueId x);

  // Marks `x` as quantized once for all that multiply it.
  void quantize(ValueId x);

 private:
  int32_t parameter(std::string name, Shape shape);
  // The op's output takes its name unless `output` gives another.
  Op& append(OpKind kind, const std::string& name, std::vector<ValueId> inputs, int64_t width,
             Rows rows, const std::string& output = {});
  Op& append_like(OpKind kind, const std::string& name, std::vector<ValueId> inputs);

  Network network_;
};

// "gelu" -> kGelu, ... Throws Error listing the supported names.
ActivationKind parse_hidden_act(const std::string& name);

// Pooling and layers from the last hidden state to the output that config.head asks for.
void build_head(NetworkBuilder& builder, ValueId hidden, const ModelConfig& config);

// graph/bert.cc
Network build_bert(const ModelConfig& config);

}  // namespace twofour
