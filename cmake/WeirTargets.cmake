# The four kinds of target a folder may declare. Sources are listed, never
# globbed; DEPS is the whole truth about what a folder uses.

# What a test is labelled with, and so what a preset can choose. Each label has
# a target that builds its tests: `cmake --build build/asan --target tests_unit`.
#   unit         one class; no sleep, no port          fault  failing disks and networks
#   simulation   the whole pipeline in virtual time    fuzz   corpora of the fuzzers
#   integration  whole services, a real PostgreSQL     e2e    the real executables
#   lint         rules about the sources               storm  minutes of kill -9
set(WEIR_LABELS unit fault simulation fuzz integration e2e lint storm)
foreach(_label ${WEIR_LABELS})
  add_custom_target(tests_${_label})
endforeach()

# weir_library(NAME base SRCS clock.cc DEPS absl::time)  ->  weir::base
function(weir_library)
  cmake_parse_arguments(ARG "PRECOMPILE" "NAME" "SRCS;DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(weir_${ARG_NAME} STATIC ${ARG_SRCS})
    target_include_directories(weir_${ARG_NAME} PUBLIC "${CMAKE_SOURCE_DIR}")
    target_link_libraries(weir_${ARG_NAME} PUBLIC ${ARG_DEPS} PRIVATE weir::warnings)
    if(ARG_PRECOMPILE AND WEIR_PRECOMPILE)
      target_precompile_headers(weir_${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}/cmake/precompiled.h")
    endif()
  else()
    add_library(weir_${ARG_NAME} INTERFACE)
    target_include_directories(weir_${ARG_NAME} INTERFACE "${CMAKE_SOURCE_DIR}")
    target_link_libraries(weir_${ARG_NAME} INTERFACE ${ARG_DEPS})
  endif()
  add_library(weir::${ARG_NAME} ALIAS weir_${ARG_NAME})
endfunction()

# weir_executable(NAME weir-collector SRCS main.cc DEPS weir::collector)
function(weir_executable)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} weir::warnings)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
endfunction()

# weir_test(NAME clock_test SRCS clock_test.cc DEPS weir::base LABEL unit)
function(weir_test)
  cmake_parse_arguments(ARG "" "NAME;LABEL;TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_LABEL IN_LIST WEIR_LABELS)
    message(FATAL_ERROR "${ARG_NAME}: LABEL is one of ${WEIR_LABELS}, not '${ARG_LABEL}'")
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  add_dependencies(tests_${ARG_LABEL} ${ARG_NAME})
  target_include_directories(${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main weir::warnings)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

# weir_fuzzer(NAME wal_fuzz SRCS wal_fuzz.cc DEPS weir::wal CORPUS corpus/wal)
#
# SRCS define LLVMFuzzerTestOneInput. The test replays CORPUS, a folder beside
# the CMakeLists.txt, in every build; with WEIR_FUZZ the executable also
# searches for new inputs: `build/fuzz/tests/wal_fuzz tests/fuzz/corpus/wal`.
function(weir_fuzzer)
  cmake_parse_arguments(ARG "" "NAME;CORPUS" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  add_dependencies(tests_fuzz ${ARG_NAME})
  target_include_directories(${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} weir::warnings)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  if(WEIR_FUZZ)
    target_link_options(${ARG_NAME} PRIVATE -fsanitize=fuzzer)
    set(_replay -runs=0)
  else()
    target_sources(${ARG_NAME} PRIVATE "${PROJECT_SOURCE_DIR}/cmake/replay_corpus.cc")
    set(_replay)
  endif()
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME} ${_replay} "${CMAKE_CURRENT_SOURCE_DIR}/${ARG_CORPUS}")
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()
