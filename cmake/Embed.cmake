# Files of src/*/page/ (style sheets and scripts of HTML pages) as constants in the program:
# src/eval/page/report.css becomes `const char mg_page_report_css[]`, declared in eval/page.h.
# Used by CMakeLists.txt, and by itself as a script (cmake -P) that writes one of them.
if(CMAKE_SCRIPT_MODE_FILE)
  file(READ ${FROM} bytes HEX)
  string(REGEX REPLACE "(................................................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  file(WRITE ${TO} "extern const char ${NAME}[];\nconst char ${NAME}[] = {\n${bytes}0};\n")
  return()
endif()

file(GLOB pages CONFIGURE_DEPENDS src/*/page/*.css src/*/page/*.js)
foreach(page IN LISTS pages)
  get_filename_component(name ${page} NAME)
  string(MAKE_C_IDENTIFIER mg_page_${name} name)
  set(source ${CMAKE_BINARY_DIR}/page/${name}.c)
  add_custom_command(OUTPUT ${source} DEPENDS ${page} ${CMAKE_CURRENT_LIST_FILE}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/page
    COMMAND ${CMAKE_COMMAND} -DFROM=${page} -DTO=${source} -DNAME=${name} -P ${CMAKE_CURRENT_LIST_FILE} VERBATIM)
  target_sources(migaki_core PRIVATE ${source})
endforeach()
