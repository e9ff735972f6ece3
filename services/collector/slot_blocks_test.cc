#include "services/collector/slot_blocks.h"

#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir::collector {
namespace {

using Value = std::tuple<uint32_t, int64_t, uint64_t>;  // series, time, bits

TEST(SlotBlocksTest, EverySampleIsInTheBlocksOfItsSlotAndTypeInOrder) {
  constexpr int kSlots = 5;
  Random random(weir::test::TestSeed());
  SlotBlocks slots(kSlots);
  for (int round = 0; round < 20; ++round) {  // rounds reuse the same object
    std::map<std::pair<int, frame::ValueType>, std::vector<Value>> expected;
    slots.Clear();
    for (uint64_t i = random.Below(20'000); i > 0; --i) {
      const AdmittedSample sample = {
          .event_unix_nano = static_cast<int64_t>(random.Below(1'000'000'000'000)),
          .bits = random() >> random.Below(64),
          .series = static_cast<SeriesNumber>(random.Below(100'000)),
          .slot = static_cast<uint16_t>(random.Below(kSlots - 1)),  // one stays empty
          .type = static_cast<frame::ValueType>(random.Below(2))};
      slots.Add(sample);
      expected[{sample.slot, sample.type}].emplace_back(sample.series, sample.event_unix_nano,
                                                        sample.bits);
    }
    slots.Finish();
    std::map<std::pair<int, frame::ValueType>, std::vector<Value>> found;
    for (int slot = 0; slot < kSlots; ++slot) {
      uint64_t count = 0;
      for (const std::string_view bytes : slots.blocks(slot)) {
        ByteReader reader(bytes);
        frame::Block block;
        ASSERT_TRUE(frame::ReadBlock(&reader, &block).ok());
        EXPECT_TRUE(reader.empty());
        count += block.size();
        for (size_t i = 0; i < block.size(); ++i) {
          found[{slot, block.type}].emplace_back(block.refs[i], block.times[i], block.bits[i]);
        }
      }
      EXPECT_EQ(slots.sample_count(slot), count);
    }
    EXPECT_EQ(found, expected);
  }
}

}  // namespace
}  // namespace weir::collector
