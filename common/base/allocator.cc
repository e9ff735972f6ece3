#include "common/base/allocator.h"

#include <cstdlib>  // which defines __GLIBC__

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace weir {

void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
#endif
}

}  // namespace weir
