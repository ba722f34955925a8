// The launches of the two forms; each .cu file defines some of them, where the build has it.
#pragma once

#include "twofour/backend/cuda/spmm24_cutlass.h"
#include "twofour/backend/cuda/spmm24_cutlass_tile.h"

namespace twofour::cuda {

// A launch without what is checked already.
struct Spmm24CutlassLaunch {
  int rows = 0, tokens = 0;  // of a tile
  DType type = DType::kF16;
  Spmm24CutlassOutput output = Spmm24CutlassOutput::kS8;
  EpilogueActivation activation = EpilogueActivation::kNone;
  Spmm24CutlassArgs args;
  StreamHandle stream = nullptr;
};

// Throw Error where the launch fails.
void run_spmm24_cutlass_sm80(const Spmm24CutlassLaunch& launch);
void run_spmm24_cutlass_sm90_s8(const Spmm24CutlassLaunch& launch);
void run_spmm24_cutlass_sm90_half(const Spmm24CutlassLaunch& launch);

}  // namespace twofour::cuda
