# The plug-in and the engine builder for TensorRT, where its headers are: NvInfer.h and NvOnnxParser.h in the include folder
# of an installation, of Debian's libnvinfer-headers-dev or of the sources on GitHub. Nothing is linked to TensorRT: its
# libraries are found at run time.
#
#   TENSORRT_ROOT   the folder that holds include/, or the headers themselves
set(TENSORRT_ROOT "$ENV{TENSORRT_ROOT}" CACHE PATH "Folder of TensorRT's include/")
set(TWOFOUR_TENSORRT FALSE)
if(NOT TENSORRT_ROOT)
  message(STATUS "TensorRT: TENSORRT_ROOT is not set; the plug-in and the engine builder are not built")
else()
  find_path(TWOFOUR_TENSORRT_INCLUDE NvInfer.h PATHS ${TENSORRT_ROOT}/include ${TENSORRT_ROOT}/include/x86_64-linux-gnu
            ${TENSORRT_ROOT} NO_DEFAULT_PATH)
  if(NOT TWOFOUR_TENSORRT_INCLUDE)
    message(FATAL_ERROR "TENSORRT_ROOT is ${TENSORRT_ROOT}, but NvInfer.h is in neither of it and its include folder")
  elseif(NOT TWOFOUR_CUDA)
    message(STATUS "TensorRT: its headers are in ${TWOFOUR_TENSORRT_INCLUDE}, but the plug-in and the engine builder need "
                   "-DTWOFOUR_CUDA=ON (preset cuda) and are not built")
  else()
    set(TWOFOUR_TENSORRT TRUE)
    file(STRINGS ${TWOFOUR_TENSORRT_INCLUDE}/NvInferVersion.h version
         REGEX "define (NV_TENSORRT_MAJOR|TRT_MAJOR_ENTERPRISE) [0-9]")
    string(REGEX MATCH "MAJOR[A-Z_]* ([0-9]+)" version "${version}")
    set(TWOFOUR_TENSORRT_MAJOR ${CMAKE_MATCH_1})
    message(STATUS "TensorRT ${TWOFOUR_TENSORRT_MAJOR}: headers in ${TWOFOUR_TENSORRT_INCLUDE}")
  endif()
endif()
