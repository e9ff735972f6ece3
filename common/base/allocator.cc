#include "common/base/allocator.h"

#include <cstdlib>  // which defines __GLIBC__

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace weir {

void KeepFreedMemory() {
#ifdef __GLIBC__
  constexpr int kBytes = 8 << 20;
  mallopt(M_TRIM_THRESHOLD, kBytes);
  // Setting one of the two ends glibc's own adjustment of the other.
  mallopt(M_MMAP_THRESHOLD, kBytes);
#endif
}

}  // namespace weir
