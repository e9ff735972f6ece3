# WEIR_SANITIZE is a list for -fsanitize: "address;undefined" or "thread".
set(WEIR_SANITIZE "" CACHE STRING "Sanitizers to build with, as in -fsanitize")
if(WEIR_SANITIZE)
  string(REPLACE ";" "," _weir_sanitize "${WEIR_SANITIZE}")
  add_compile_options(-fsanitize=${_weir_sanitize} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${_weir_sanitize})
  # Later Abseils give tables and iterators another layout under AddressSanitizer,
  # and the installed library was built without.
  add_compile_definitions(NDEBUG_SANITIZER)
  # Instrumented code confuses GCC's flow analysis: it warns of variants' members
  # that are never read. The plain builds keep the warning.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized)
    # With these, a function's address is no constant to GCC, and later Abseils do
    # not compile. A null that is used still ends the program.
    if(WEIR_SANITIZE MATCHES "undefined")
      add_compile_options(-fno-sanitize=null,nonnull-attribute,returns-nonnull-attribute)
    endif()
  endif()
endif()

# WEIR_FUZZ builds the fuzzers of tests/fuzz on libFuzzer, which only clang has.
# Without it they still build, and CTest replays their corpora.
option(WEIR_FUZZ "Build the fuzzers on libFuzzer" OFF)
if(WEIR_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "WEIR_FUZZ needs clang: cmake --preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
