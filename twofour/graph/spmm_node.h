// The ONNX node of the TensorRT plug-in for 2:4 products: export/ writes it, tensorrt/ reads it.
//
//   x  [..., k]  fp16, bf16 or int8
//   y  [..., n]  fp16 or bf16: as x, fp16 of an int8 x
//
// y = activation(input_scale * weight_scale * x W^T + bias); the scales are those of int8.
#pragma once

namespace twofour::spmm_node {

// TensorRT's parser takes a node that it does not know for a plug-in and looks it up by op type and
// the attributes plugin_version and plugin_namespace. It ignores the domain; this one is known to
// ONNX Runtime's TensorRT provider.
inline constexpr const char* kType = "SpmmPluginDynamic";
inline constexpr const char* kDomain = "trt.plugins";
inline constexpr int kDomainVersion = 1;
inline constexpr const char* kVersion = "1";
inline constexpr const char* kNamespace = "";
inline constexpr const char* kVersionAttribute = "plugin_version";
inline constexpr const char* kNamespaceAttribute = "plugin_namespace";

// Attributes, which are the plug-in's fields.
inline constexpr const char* kN = "n";                       // int
inline constexpr const char* kK = "k";                       // int
inline constexpr const char* kDtype = "type";                // string: fp16, bf16 or int8
inline constexpr const char* kEpilogue = "epilogue";         // string, below
inline constexpr const char* kMaxM = "max_m";                // int: largest m that has a plan
inline constexpr const char* kBucketStep = "bucket_step";    // int: plans for this m, twice, ...
inline constexpr const char* kWeight = "weight";             // tensor [n, k] of `type`, 2:4 along k
inline constexpr const char* kBias = "bias";                 // tensor [n], f32
inline constexpr const char* kWeightScale = "weight_scale";  // tensor [n], f32; of int8
inline constexpr const char* kInputScale = "input_scale";    // tensor [1], f32; of int8

inline constexpr const char* kFp16 = "fp16";
inline constexpr const char* kBf16 = "bf16";
inline constexpr const char* kInt8 = "int8";

inline constexpr const char* kNone = "none";
inline constexpr const char* kBiasOnly = "bias";
inline constexpr const char* kBiasRelu = "bias_relu";
inline constexpr const char* kBiasGelu = "bias_gelu";  // GELU in its erf form

inline constexpr int kDefaultMaxM = 4096;
inline constexpr int kDefaultBucketStep = 16;

}  // namespace twofour::spmm_node
