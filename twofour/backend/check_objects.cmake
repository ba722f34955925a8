# cmake -DNM=nm "-DOBJECTS=a.o;b.o" -P check_objects.cmake
# Files compiled for more than every machine has must not define inline functions that the linker could pick for other
# files: their code would not run on a lesser machine.
foreach(object IN LISTS OBJECTS)
  if(NOT object MATCHES "avx")
    continue()
  endif()
  execute_process(COMMAND ${NM} -C --defined-only ${object} OUTPUT_VARIABLE listing COMMAND_ERROR_IS_FATAL ANY)
  if(listing MATCHES " [WVu] ([^\n]*)")
    message(SEND_ERROR "${object} defines the weak symbol ${CMAKE_MATCH_1}")
  endif()
endforeach()
