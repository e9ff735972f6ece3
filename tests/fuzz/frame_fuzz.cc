// A frame and everything in it: whatever parses is read to its last sample, and
// a block that was read is one that can be written.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/frame/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  frame::DescribeFrame(bytes);
  const auto parsed = frame::ParseFrame(bytes);
  if (!parsed.ok()) return 0;
  frame::Block block;
  for (const frame::Range& range : parsed->ranges) {
    frame::SubframeView subframe;
    if (!frame::ParseSubframe(range.subframe, &subframe).ok()) continue;
    WEIR_CHECK(frame::DefinitionsOnly(range.subframe).ok());
    ByteReader reader(subframe.blocks);
    while (!reader.empty() && frame::ReadBlock(&reader, &block).ok()) {
      std::string again;
      frame::AppendBlock(block, &again);
      ByteReader rewritten(again);
      frame::Block same;
      WEIR_CHECK(frame::ReadBlock(&rewritten, &same).ok());
      WEIR_CHECK(same.refs == block.refs && same.times == block.times && same.bits == block.bits);
    }
  }
  return 0;
}
