# cmake -DNM=nm -DLIBRARY=libtwofour_spmm_plugin.so -P check_symbols.cmake
#
# The plug-in exports one function and asks TensorRT, CUDA and cuSPARSELt for none at load: what it needs of them is looked up
# at run time, so that any program can load it.
execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY} OUTPUT_VARIABLE defined COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+ [TDBVWRiu] [^\n]+" defined "${defined}")
list(TRANSFORM defined REPLACE ".* " "")
if(NOT defined STREQUAL "twofour_register_spmm_plugin")
  message(FATAL_ERROR "${LIBRARY} exports: ${defined}")
endif()
execute_process(COMMAND ${NM} -D --undefined-only ${LIBRARY} OUTPUT_VARIABLE undefined COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL " (getPluginRegistry|getLogger|getInferLib|createInfer|createNv|cusparseLt|cuda|cu[A-Z])[A-Za-z_]*" foreign
       "${undefined}")
if(foreign)
  message(FATAL_ERROR "${LIBRARY} needs at load: ${foreign}")
endif()
