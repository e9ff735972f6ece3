// How the C library's allocator is to treat what is freed.
#pragma once

namespace weir {

// Lets every arena keep up to 8 MiB of freed memory instead of 128 KiB. Batches
// come and go by the megabyte, and giving their pages back each time only to
// fault them in again cost a twentieth of a service's CPU. Call it first thing in
// main, before there are threads. Does nothing where there is no glibc.
void KeepFreedMemory();

}  // namespace weir
