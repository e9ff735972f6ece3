// How the C library's allocator is to treat what is freed.
#pragma once

namespace weir {

// Lets every arena keep up to 8 MiB of freed memory, instead of giving pages back
// only to fault them in again: batches come and go by the megabyte, and that cost a
// twentieth of a service's CPU. Blocks below 8 MiB come from the arenas, larger ones
// are mapped by themselves. Call it first thing in main, before there are threads.
// Does nothing where there is no glibc.
void KeepFreedMemory();

}  // namespace weir
