// How CUTLASS's wgmma.sp main loop for blocks of 128 along k lays out weights of a type; asserted
// where the main loop is made, and compared with spmm24_cutlass_weight.h by a test.
#pragma once

#include <cute/atom/mma_traits_sm90_gmma_sparse.hpp>
#include <cute/tensor.hpp>
#include <cutlass/gemm/collective/builders/sm90_sparse_config.inl>

namespace twofour::cuda {

template <class Element>
using CutlassSm90Config =
    cutlass::Sm90GemmSparseConfig<cute::sparse_elem<2, Element>, cute::GMMA::Major::K,
                                  cute::sparse_elem<8, uint8_t>, cute::_128>;

}  // namespace twofour::cuda
