// Runs a Network with LibTorch, forwards with autograd.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "twofour/graph/network.h"

namespace twofour {

// Parameters by canonical name, f32 leaves that require grad.
using ParameterMap = std::map<std::string, at::Tensor>;

// From a dense or int8 directory (int8 weights are dequantized). Parameters of a classification
// head that the file lacks are drawn from N(0, 0.02) with `seed`, biases zero. Throws Error as
// check_parameters does.
ParameterMap load_parameters(const Network& network, const ModelDirectory& model, uint64_t seed);

struct TokenTensors {
  at::Tensor ids;       // [batch, seq] int64, padded with 0
  at::Tensor type_ids;  // [batch, seq] int64
  at::Tensor lengths;   // [batch] int64
  at::Tensor valid;     // [batch, seq] bool, true on tokens
};

// On `device`; what is there already shares its memory. Parameters are leaves again; a tensor that
// is undefined stays so.
at::Tensor to_device(const at::Tensor& tensor, at::Device device);
ParameterMap to_device(const ParameterMap& parameters, at::Device device);
TokenTensors to_device(const TokenTensors& tokens, at::Device device);

at::Device device_of(const ParameterMap& parameters);

// What FakeQuantize does to tensors; null: nothing. Implemented by train/fake_quantize.h.
class TensorHook {
 public:
  virtual ~TensorHook() = default;

  // Called once for each value that is a quantization point, however many linear layers read it.
  // Returns what they read, in `type` (f32, or bf16 under autocast); the residual stream keeps
  // reading `x`.
  virtual at::Tensor activation(int32_t quant_point, const at::Tensor& x, const at::Tensor& valid,
                                at::ScalarType type) = 0;

  // The same for the weight of a prunable linear layer.
  virtual at::Tensor weight(const std::string& name, const at::Tensor& w, at::ScalarType type) = 0;
};

struct ForwardOptions {
  bool training = false;        // dropout on
  double dropout = -1;          // >= 0: in place of the ops' own, where those are above 0
  bool hidden_states = false;   // fill ForwardResult::hidden_states
  bool last_attention = false;  // fill q, k, v of the last layer
  bool bf16 = false;  // autocast: linear and attention products in bf16, everything else f32
  TensorHook* hook = nullptr;
};

struct ForwardResult {
  at::Tensor output;  // [batch, width] f32; [batch, seq, hidden] without a head
  std::vector<at::Tensor>
      hidden_states;   // each [batch, seq, hidden] f32; rows of padding hold no meaning
  at::Tensor q, k, v;  // [batch, seq, hidden], as the products left them: bf16 under autocast
};

// Parameters and tokens are on one device, the CPU or a GPU. The seeds of random numbers (dropout)
// come from LibTorch's default CPU generator. Whether gradients are recorded is the caller's
// at::GradMode. Stateless besides references to its arguments, which must outlive it.
class TorchInterpreter {
 public:
  TorchInterpreter(const Network& network, const ParameterMap& parameters);
  ForwardResult forward(const TokenTensors& tokens, const ForwardOptions& options) const;

 private:
  const Network& network_;
  const ParameterMap& parameters_;
};

}  // namespace twofour
