# CUDA for backend/cuda/: nvcc, its runtime (linked statically, so that the command starts without a driver) and the
# headers of cuSPARSELt, which is opened at run time. Each from the system or from PyPI's wheels in .venv
# (scripts/setup --cuda).
#
#   CMAKE_CUDA_COMPILER        another nvcc
#   CMAKE_CUDA_ARCHITECTURES   fewer architectures for a shorter build, e.g. 80
#   TWOFOUR_CUSPARSELT_INCLUDE folder of cusparseLt.h
#   TWOFOUR_CUTLASS_INCLUDE    folder of cutlass/cutlass.h; -DTWOFOUR_CUTLASS=OFF builds without
file(GLOB wheels ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia)
file(GLOB cutlass_wheel ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/cutlass_library/source/include)

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(TWOFOUR_NVCC nvcc PATHS /usr/local/cuda/bin ${wheels}/cu13/bin DOC "The CUDA compiler")
  if(NOT TWOFOUR_NVCC)
    message(FATAL_ERROR "TWOFOUR_CUDA is ON, but nvcc was found neither on the path, in /usr/local/cuda/bin nor in .venv. "
                        "Run scripts/setup --cuda, install the CUDA toolkit (12 or 13), set CMAKE_CUDA_COMPILER, "
                        "or build without CUDA (preset release).")
  endif()
  set(CMAKE_CUDA_COMPILER ${TWOFOUR_NVCC})
endif()

# nvcc links its first trials against lib64 beside it; the wheels have a folder lib. Nothing else is linked by nvcc.
if(TWOFOUR_NVCC)
  cmake_path(GET TWOFOUR_NVCC PARENT_PATH cuda_root)
  cmake_path(GET cuda_root PARENT_PATH cuda_root)
  if(EXISTS ${cuda_root}/lib/libcudart_static.a AND NOT EXISTS ${cuda_root}/lib64)
    set(ENV{NVCC_APPEND_FLAGS} -L${cuda_root}/lib)
  endif()
endif()

# 90a: Hopper's own instructions; they do not run on later devices, for which the code of 100 is kept in PTX too.
set(CMAKE_CUDA_ARCHITECTURES "80-real;86-real;89-real;90a-real;100" CACHE STRING "GPU architectures to compile for")
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 12 takes it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

# FindCUDAToolkit asks for more than the wheels hold.
find_path(TWOFOUR_CUDA_INCLUDE cuda_runtime_api.h HINTS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${cuda_root}/include
          REQUIRED DOC "Folder of cuda_runtime_api.h")
find_library(TWOFOUR_CUDART_STATIC libcudart_static.a HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} ${cuda_root}/lib
             REQUIRED DOC "The static CUDA runtime")
add_library(twofour_cudart INTERFACE)
target_link_libraries(twofour_cudart INTERFACE ${TWOFOUR_CUDART_STATIC} Threads::Threads ${CMAKE_DL_LIBS} rt)

find_path(TWOFOUR_CUSPARSELT_INCLUDE cusparseLt.h
          PATHS ${wheels}/cu13/include ${wheels}/cusparselt/include ${TWOFOUR_CUDA_INCLUDE}
          DOC "Folder of cusparseLt.h")
if(NOT TWOFOUR_CUSPARSELT_INCLUDE)
  message(FATAL_ERROR "TWOFOUR_CUDA is ON, but cusparseLt.h was not found. Run scripts/setup --cuda, "
                      "or set TWOFOUR_CUSPARSELT_INCLUDE to its folder.")
endif()

if(TWOFOUR_CUTLASS)
  find_path(TWOFOUR_CUTLASS_INCLUDE cutlass/cutlass.h PATHS ${cutlass_wheel} ${TWOFOUR_CUDA_INCLUDE}
            DOC "Folder of cutlass/cutlass.h")
  if(NOT TWOFOUR_CUTLASS_INCLUDE)
    message(FATAL_ERROR "TWOFOUR_CUTLASS is ON, but cutlass/cutlass.h was not found. Run scripts/setup --cuda, "
                        "set TWOFOUR_CUTLASS_INCLUDE to its folder, or build without (-DTWOFOUR_CUTLASS=OFF).")
  endif()
  # Its utilities lie beside; only a test needs them.
  find_path(TWOFOUR_CUTLASS_UTIL_INCLUDE cutlass/util/host_reorder.h
            PATHS ${TWOFOUR_CUTLASS_INCLUDE} ${TWOFOUR_CUTLASS_INCLUDE}/../tools/util/include NO_DEFAULT_PATH
            DOC "Folder of cutlass/util/host_reorder.h")
endif()
