# Every library we did not write, found once. All come from the distribution.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
pkg_check_modules(pqxx REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(isal REQUIRED IMPORTED_TARGET libisal)
find_program(WEIR_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# Packages found by header and library: asking pkg-config for them takes it 15 to
# 25 seconds, because they name every piece of Abseil, and those one another.
function(weir_find TARGET HEADER)
  find_path(WEIR_INCLUDE_${TARGET} "${HEADER}" REQUIRED)
  add_library(weir_external_${TARGET} INTERFACE)
  target_include_directories(weir_external_${TARGET} SYSTEM INTERFACE "${WEIR_INCLUDE_${TARGET}}")
  foreach(_library ${ARGN})
    find_library(WEIR_LIBRARY_${_library} ${_library} REQUIRED)
    target_link_libraries(weir_external_${TARGET} INTERFACE "${WEIR_LIBRARY_${_library}}")
  endforeach()
  add_library(PkgConfig::${TARGET} ALIAS weir_external_${TARGET})
endfunction()
weir_find(grpcpp grpcpp/grpcpp.h grpc++ grpc gpr)
weir_find(nlohmann_json nlohmann/json.hpp)
weir_find(re2 re2/re2.h re2)
weir_find(snappy snappy-c.h snappy)

# The distribution's yaml-cpp 0.7 names its target plainly, 0.8 with a namespace.
if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()
# Header-only in some releases, a shared library in others. Where it is compiled,
# its classes have the layout of the features it was built with: whoever includes
# it must define the same ones, or writes past the end of a Client or Request.
find_path(WEIR_HTTPLIB_INCLUDE httplib.h REQUIRED)
find_library(WEIR_HTTPLIB NAMES cpp-httplib httplib)
add_library(weir_httplib INTERFACE)
add_library(weir::httplib ALIAS weir_httplib)
target_include_directories(weir_httplib SYSTEM INTERFACE "${WEIR_HTTPLIB_INCLUDE}")
target_link_libraries(weir_httplib INTERFACE Threads::Threads OpenSSL::SSL)
pkg_check_modules(cpp_httplib QUIET IMPORTED_TARGET cpp-httplib)
if(cpp_httplib_FOUND)
  target_link_libraries(weir_httplib INTERFACE PkgConfig::cpp_httplib)
elseif(WEIR_HTTPLIB)
  target_link_libraries(weir_httplib INTERFACE "${WEIR_HTTPLIB}")
endif()
if(BUILD_TESTING)
  find_package(GTest REQUIRED)
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
  # The Python of the tests: -DWEIR_PYTHON=..., else the environment scripts/test
  # makes, else the system's. Looked up at every configure, because the
  # environment may come later than the cache.
  if(NOT WEIR_PYTHON)
    set(WEIR_PYTHON "${CMAKE_SOURCE_DIR}/build/venv/bin/python")
    if(NOT EXISTS "${WEIR_PYTHON}")
      set(WEIR_PYTHON "${Python3_EXECUTABLE}")
    endif()
  endif()
  # Tools of the tests. scripts/test installs the pinned ones below build/.
  set(_tools HINTS "${CMAKE_SOURCE_DIR}/build/tools" "${CMAKE_SOURCE_DIR}/build/venv/bin")
  find_program(WEIR_BUF buf ${_tools})
  find_program(WEIR_CLANG_FORMAT NAMES clang-format clang-format-14 ${_tools})
  find_program(WEIR_GRPCURL grpcurl ${_tools})
endif()
find_package(benchmark QUIET)
