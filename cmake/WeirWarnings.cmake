# weir::warnings: what our own code is compiled with. Generated code is not.
add_library(weir_warnings INTERFACE)
add_library(weir::warnings ALIAS weir_warnings)
target_compile_options(weir_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
  -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(weir_warnings INTERFACE -Wthread-safety -Wthread-safety-beta)
endif()
