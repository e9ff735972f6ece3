// A segment found on disk: opening it ends in an error or in records that can
// all be read, and never in a crash.
#include <cstdint>
#include <string>

#include "common/base/check.h"
#include "common/testing/sim_disk.h"
#include "common/wal/wal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  test::SimDisk disk;
  WEIR_CHECK(disk.CreateDirectory("/wal").ok());
  disk.Install("/wal/00000000000000000001.wal",
               std::string(reinterpret_cast<const char*>(data), size));
  const auto log = wal::Wal::Open(
      {.directory = "/wal", .new_id = {.high = 1, .low = 1}, .application_tag = "slots=16"}, disk);
  if (!log.ok() || (*log)->durable_lsn() == 0) return 0;
  const auto reader = wal::WalReader::OpenAtSegmentOf(**log, 1);
  WEIR_CHECK(reader.ok());
  wal::Record record;
  uint64_t count = 0;
  while (true) {
    const auto found = (*reader)->Next(&record);
    WEIR_CHECK(found.ok());
    if (!*found) break;
    ++count;
  }
  WEIR_CHECK(count == (*log)->durable_lsn());
  return 0;
}
