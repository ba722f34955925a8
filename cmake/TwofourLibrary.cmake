# twofour_library(<name> SOURCES a.cc b.cc [DEPS base sparse] [LIBS fmt::fmt] [TORCH])
#
# Makes the static library twofour_<name> from the folder that calls it, a test program from each *_test.cc and a
# benchmark from each *_bench.cc. DEPS are twofour libraries by short name, LIBS third-party targets (private).
# TORCH marks a library of the build half: it links LibTorch and shares its precompiled header.
function(twofour_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPS;LIBS" ${ARGN})
  set(target twofour_${name})
  list(TRANSFORM ARG_DEPS PREPEND twofour_ OUTPUT_VARIABLE deps)

  add_library(${target} STATIC ${ARG_SOURCES})
  target_link_libraries(${target} PUBLIC ${deps} PRIVATE ${ARG_LIBS})
  if(ARG_TORCH)
    target_link_libraries(${target} PUBLIC twofour_torch)
    twofour_torch_headers(${target})
  endif()
  set_property(GLOBAL APPEND PROPERTY TWOFOUR_LIBRARIES ${target})

  file(GLOB tests CONFIGURE_DEPENDS *_test.cc)
  foreach(source IN LISTS tests)
    if(TWOFOUR_TESTS)
      cmake_path(GET source STEM test)
      twofour_test(${test} SOURCES ${source} TARGETS ${target} LIBS ${ARG_LIBS})
      if(ARG_TORCH)
        twofour_torch_headers(${test})
      endif()
    endif()
  endforeach()
  file(GLOB benches CONFIGURE_DEPENDS *_bench.cc)
  foreach(source IN LISTS benches)
    if(TWOFOUR_BENCHMARKS)
      cmake_path(GET source STEM bench)
      add_executable(${bench} ${source})
      target_link_libraries(${bench} PRIVATE ${target} ${ARG_LIBS} benchmark::benchmark_main)
      if(ARG_TORCH)
        twofour_torch_headers(${bench})
      endif()
    endif()
  endforeach()
endfunction()

# twofour_test(<name> SOURCES ... TARGETS cmake-targets [LIBS ...]): one GoogleTest program, each test known to CTest.
function(twofour_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;TARGETS;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_TARGETS} ${ARG_LIBS} twofour_test_main)
  target_compile_definitions(${name} PRIVATE TWOFOUR_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                             TWOFOUR_BINARY_DIR="${PROJECT_BINARY_DIR}")
  # PRE_TEST: the list is read when ctest runs, so a build does not execute what it just linked.
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600)
endfunction()

# twofour_older_machines(<test>...): each program once more for every instruction set that a machine may stop at.
function(twofour_older_machines)
  if(NOT TWOFOUR_TESTS)
    return()
  endif()
  foreach(test IN LISTS ARGN)
    foreach(isa IN ITEMS portable avx2 avx512 avx512_vnni avx512_vbmi avx512_bf16)
      add_test(NAME ${test}_${isa} COMMAND ${test})
      set_tests_properties(${test}_${isa} PROPERTIES ENVIRONMENT TWOFOUR_MAX_ISA=${isa} TIMEOUT 600)
    endforeach()
  endforeach()
endfunction()
