# LibTorch as the target twofour_torch.
#
# Torch_DIR (any LibTorch with a CMake package) wins. Otherwise the wheel in .venv: its own CMake package asks for a CUDA
# toolkit, so the target is made here from the wheel's include and lib folders; torch_cpu and c10 alone suffice.
add_library(twofour_torch INTERFACE)
if(Torch_DIR)
  find_package(Torch REQUIRED)
  target_link_libraries(twofour_torch INTERFACE ${TORCH_LIBRARIES})
  target_include_directories(twofour_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
else()
  file(GLOB TWOFOUR_TORCH_ROOT ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  if(NOT EXISTS "${TWOFOUR_TORCH_ROOT}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "LibTorch not found in .venv. Run scripts/setup, set Torch_DIR, "
                        "or configure with -DTWOFOUR_TRAIN=OFF (preset runtime).")
  endif()
  target_include_directories(twofour_torch SYSTEM INTERFACE
    ${TWOFOUR_TORCH_ROOT}/include ${TWOFOUR_TORCH_ROOT}/include/torch/csrc/api/include)
  target_link_directories(twofour_torch INTERFACE ${TWOFOUR_TORCH_ROOT}/lib)
  # Kernels register themselves through static initializers: the linker must keep both libraries.
  target_link_options(twofour_torch INTERFACE -Wl,--no-as-needed -Wl,-rpath,${TWOFOUR_TORCH_ROOT}/lib)
  target_link_libraries(twofour_torch INTERFACE torch_cpu c10)
endif()

# LibTorch's include folder holds an fmt of its own, newer than the system's and without its library: ours comes first.
find_path(TWOFOUR_FMT_INCLUDE fmt/format.h REQUIRED)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include-first)
file(CREATE_LINK ${TWOFOUR_FMT_INCLUDE}/fmt ${PROJECT_BINARY_DIR}/include-first/fmt SYMBOLIC)
target_include_directories(twofour_torch SYSTEM BEFORE INTERFACE ${PROJECT_BINARY_DIR}/include-first)

# c10d's header of its Gloo group includes headers of Gloo, which LibTorch does not ship. Where there are none, these serve.
foreach(header IN ITEMS algorithm common/error context rendezvous/store transport/device)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/include-last/gloo/${header}.h
       CONTENT "#include \"twofour/train/gloo_names.h\"\n")
endforeach()
target_include_directories(twofour_torch SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/include-last)

# LibTorch's headers, precompiled once: some 20 s a file without it. torch/torch.h as a whole would take half as long again.
file(WRITE ${PROJECT_BINARY_DIR}/torch_pch.cc "// Owner of the precompiled LibTorch headers.\n")
add_library(twofour_torch_pch OBJECT ${PROJECT_BINARY_DIR}/torch_pch.cc)
target_link_libraries(twofour_torch_pch PRIVATE twofour_torch)
target_precompile_headers(twofour_torch_pch PRIVATE <ATen/ATen.h> <torch/csrc/autograd/custom_function.h>)
function(twofour_torch_headers target)
  target_precompile_headers(${target} REUSE_FROM twofour_torch_pch)
  # A program is compiled with -fPIE, which would make the compiler ignore a header that was precompiled with -fPIC.
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
endfunction()
