// Element types of tensors, with the names that safetensors uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace twofour {

enum class DType : uint8_t { kBool, kU8, kI8, kI16, kI32, kI64, kF8E4M3, kF16, kBF16, kF32, kF64 };

size_t dtype_bytes(DType dtype);

// "F32", "BF16", "I8", ...: the spelling of a safetensors header.
std::string_view dtype_name(DType dtype);
std::optional<DType> parse_dtype(std::string_view name);

// Exact widening; narrowing rounds to nearest even.
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
// E4M3 has no infinities: beyond 448 its largest number stands in.
float e4m3_to_f32(uint8_t bits);
uint8_t f32_to_e4m3(float value);

}  // namespace twofour
