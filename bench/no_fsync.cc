// Preloaded (LD_PRELOAD) into a collector, makes its syncs cost nothing and do
// nothing: the difference is what durability costs.
extern "C" {

int fsync(int) { return 0; }
int fdatasync(int) { return 0; }

}  // extern "C"
