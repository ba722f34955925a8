# cmake -DNM=nm -DLIBRARY=libtwofour.so -P check_exports.cmake
# The shared library defines the C functions and the exported classes, and nothing else.
execute_process(COMMAND ${NM} -D -C --defined-only ${LIBRARY} OUTPUT_VARIABLE listing COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE "\n$" "" listing "${listing}")
string(REPLACE ";" "," listing "${listing}")
string(REPLACE "\n" ";" lines "${listing}")
set(functions 0)
foreach(line IN LISTS lines)
  string(REGEX REPLACE "^[0-9a-f]+ [A-Za-z] " "" symbol "${line}")
  if(symbol MATCHES "^twofour_[a-z_]+@@TWOFOUR_0$")
    math(EXPR functions "${functions} + 1")
  elseif(NOT symbol MATCHES "^TWOFOUR_0"
         AND NOT symbol MATCHES "^twofour::(Engine|Session|Scorer|Error|ModelDirectory)::[a-zA-Z_~]+(\\[abi:cxx11\\])?\\("
         AND NOT symbol MATCHES "^(typeinfo|typeinfo name|vtable) for twofour::Error@@")
    message(SEND_ERROR "unexpected symbol: ${symbol}")
  endif()
endforeach()
if(functions EQUAL 0)
  message(SEND_ERROR "no C function is exported")
endif()
message(STATUS "${functions} C functions")
