# Writes a C++ file with the pages' assets as byte arrays. Long string literals are slower to compile.
function(embed name path)
  file(READ ${path} bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  file(APPEND ${OUTPUT} "static const unsigned char k${name}Bytes[] = {${bytes}};\n"
                        "std::string_view ${name}() {\n"
                        "  return {reinterpret_cast<const char*>(k${name}Bytes), sizeof k${name}Bytes};\n}\n")
endfunction()

file(WRITE ${OUTPUT} "#include \"twofour/cli/page_assets.h\"\n\nnamespace twofour::cli {\n\n")
embed(chart_js ${CHART_JS})
embed(page_css ${SOURCE_DIR}/page.css)
embed(page_js ${SOURCE_DIR}/page.js)
embed(report_js ${SOURCE_DIR}/report.js)
embed(bench_js ${SOURCE_DIR}/bench.js)
file(APPEND ${OUTPUT} "\n}  // namespace twofour::cli\n")
