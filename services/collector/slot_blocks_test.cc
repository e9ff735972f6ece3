#include "services/collector/slot_blocks.h"

#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir::collector {
namespace {

// Series, time, bits, and the bytes of a point.
using Value = std::tuple<uint32_t, int64_t, uint64_t, std::string>;

TEST(SlotBlocksTest, EverySampleIsInTheBlocksOfItsSlotAndTypeInOrder) {
  constexpr int kSlots = 5;
  Random random(weir::test::TestSeed());
  SlotBlocks slots(kSlots);
  for (int round = 0; round < 20; ++round) {  // rounds reuse the same object
    std::map<std::pair<int, frame::ValueType>, std::vector<Value>> expected;
    slots.Clear();
    for (uint64_t i = random.Below(20'000); i > 0; --i) {
      AdmittedSample sample = {
          .event_unix_nano = static_cast<int64_t>(random.Below(1'000'000'000'000)),
          .bits = random() >> random.Below(64),
          .series = static_cast<SeriesNumber>(random.Below(100'000)),
          .slot = static_cast<uint16_t>(random.Below(kSlots - 1)),  // one stays empty
          .type = static_cast<frame::ValueType>(random.Below(frame::kValueTypes))};
      AdmittedBatch batch;
      if (sample.type == frame::ValueType::kPoint) {
        batch.points = "elsewhere" + std::string(random.Below(40), static_cast<char>(random()));
        sample.bits = uint64_t{9} << 32 | (batch.points.size() - 9);
      }
      slots.Add(sample, batch);
      if (sample.type == frame::ValueType::kPoint) sample.bits &= UINT32_MAX;
      expected[{sample.slot, sample.type}].emplace_back(
          sample.series, sample.event_unix_nano, sample.bits,
          batch.points.substr(std::min<size_t>(9, batch.points.size())));
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
        size_t at = 0;
        for (size_t i = 0; i < block.size(); ++i) {
          const size_t length = block.type == frame::ValueType::kPoint ? block.bits[i] : 0;
          found[{slot, block.type}].emplace_back(block.refs[i], block.times[i], block.bits[i],
                                                 block.points.substr(at, length));
          at += length;
        }
      }
      EXPECT_EQ(slots.sample_count(slot), count);
    }
    EXPECT_EQ(found, expected);
  }
}

}  // namespace
}  // namespace weir::collector
