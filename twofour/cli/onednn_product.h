// Dense products of oneDNN, the peer of our dense kernels. Opened at run time: nothing is linked to
// it.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "twofour/backend/matmul.h"

namespace twofour::cli {

struct OneDnn;

// The library that TWOFOUR_ONEDNN names, or libdnnl.so.3 where the system's loader finds it; null
// where neither is there. Its products run on one thread where the thread that opened it runs them.
// Throws Error where the variable names what cannot be used.
std::shared_ptr<const OneDnn> open_onednn();

std::string version_of(const OneDnn& library);  // "3.2.0"

// Whether it has a product of this type for this machine.
bool computes(const OneDnn& library, MatmulType type);

// The product of RandomProduct, dense; weights are reordered as oneDNN wants them.
class OneDnnProduct {
 public:
  // `unsigned_input`: int8 activations are moved up by 128, as vpdpbusd multiplies them, and the
  // bias takes that back. Activations of bf16 come as bf16.
  OneDnnProduct(std::shared_ptr<const OneDnn> library, MatmulType type, int64_t n, int64_t k,
                bool unsigned_input = false);
  ~OneDnnProduct();

  void set_rows(int64_t m);  // before run()
  void run();
  std::span<const float> results() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace twofour::cli
