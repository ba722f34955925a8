# Component "runtime": libtwofour.so, its headers, the command and find_package(twofour); nothing of it needs LibTorch.
# Component "training": libtwofour_train.so, which the command opens when a verb trains.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/twofour)
set_target_properties(twofour_shared PROPERTIES EXPORT_NAME twofour)
install(TARGETS twofour_shared EXPORT twofour COMPONENT runtime
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT runtime)
install(TARGETS twofour RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
# The public headers: base/error.h, runtime/{engine,scorer,c_api}.h and what they include (tests/layering_test.cc compares).
set(TWOFOUR_PUBLIC_HEADERS
  base/aligned_buffer.h base/dtype.h base/error.h base/export.h base/shape.h base/tensor.h
  io/model_directory.h io/safetensors.h io/tokenizer.h
  graph/head.h graph/network.h
  runtime/c_api.h runtime/engine.h runtime/scorer.h)
foreach(header IN LISTS TWOFOUR_PUBLIC_HEADERS)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${PROJECT_SOURCE_DIR}/twofour/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/twofour/${folder}
          COMPONENT runtime)
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/twofour COMPONENT training)

install(EXPORT twofour NAMESPACE twofour:: DESTINATION ${package_dir} COMPONENT runtime)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/twofour-config.cmake.in
                              ${PROJECT_BINARY_DIR}/twofour-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/twofour-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/twofour-config.cmake ${PROJECT_BINARY_DIR}/twofour-config-version.cmake
        DESTINATION ${package_dir} COMPONENT runtime)

install(TARGETS twofour_export_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime)
if(TARGET twofour_train_shared)
  install(TARGETS twofour_train_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT training)
endif()
