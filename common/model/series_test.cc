#include "common/model/series.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/bytes.h"

namespace weir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Series Latency() {
  return {.tenant = "acme",
          .name = "llm.request.duration",
          .kind = Kind::kDistribution,
          .labels = {{"model", "gpt-5"}, {"region", "eu"}}};
}

std::string Encoded(const Series& series) {
  std::string bytes;
  AppendSeries(series, &bytes);
  return bytes;
}

std::vector<Label> Labels(std::string_view json) {
  absl::StatusOr<std::vector<Label>> labels = LabelsFromJson(json);
  EXPECT_TRUE(labels.ok()) << labels.status();
  return labels.ok() ? *labels : std::vector<Label>();
}

TEST(SeriesTest, BytesAreAsTheHeaderSays) {
  EXPECT_EQ(Encoded(Latency()), std::string("\4acme"
                                            "\4"
                                            "\24llm.request.duration"
                                            "\2"
                                            "\5model\5gpt-5"
                                            "\6region\2eu"));
}

TEST(SeriesTest, IdIsTheStartOfTheSha256OfTheBytes) {
  // printf '\4acme\4\24llm.request.duration\2\5model\5gpt-5\6region\2eu' | sha256sum
  EXPECT_EQ(IdOfSeries(Latency()).ToHex(), "85bfc4bf90ac9c41a4a7c291178e15ec");
  EXPECT_EQ(IdOfSeries(Latency()), IdOfSeriesBytes(Encoded(Latency())));
}

TEST(SeriesTest, EveryPartOfASeriesChangesItsId) {
  const SeriesId id = IdOfSeries(Latency());
  Series other = Latency();
  other.tenant = "acm";
  EXPECT_NE(IdOfSeries(other), id);
  other = Latency();
  other.kind = Kind::kGauge;
  EXPECT_NE(IdOfSeries(other), id);
  other = Latency();
  other.labels[1].value = "us";
  EXPECT_NE(IdOfSeries(other), id);
  // Lengths come first, so text cannot move from one field to the next.
  other = Latency();
  other.labels = {{"mode", "lgpt-5"}, {"region", "eu"}};
  EXPECT_NE(IdOfSeries(other), id);
}

TEST(SeriesTest, ParseGivesBackWhatWasAppended) {
  for (const Series& series :
       {Latency(), Series{}, Series{.name = std::string(300, 'n'), .kind = Kind::kCounter}}) {
    const absl::StatusOr<Series> parsed = ParseSeries(Encoded(series));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, series);
  }
}

TEST(SeriesTest, EveryCutAndEveryExtraByteIsDataLoss) {
  const std::string bytes = Encoded(Latency());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSeries(bytes.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseSeries(bytes + '\0').status()));
}

TEST(SeriesTest, UnknownKindsAndDisorderAreDataLoss) {
  Series series = Latency();
  for (const int kind : {0, kMaxKind + 1, 255}) {
    series.kind = static_cast<Kind>(kind);
    EXPECT_TRUE(absl::IsDataLoss(ParseSeries(Encoded(series)).status())) << kind;
  }
  series = Latency();
  std::swap(series.labels[0], series.labels[1]);
  EXPECT_TRUE(absl::IsDataLoss(ParseSeries(Encoded(series)).status()));
  series.labels[0].name = series.labels[1].name;
  EXPECT_TRUE(absl::IsDataLoss(ParseSeries(Encoded(series)).status()));
}

TEST(SeriesTest, OneSeriesHasOneSpelling) {
  // A length of 1 in two bytes would be the same series under another id.
  EXPECT_TRUE(ParseSeries({"\1t\1\1n\0", 6}).ok());
  EXPECT_TRUE(absl::IsDataLoss(ParseSeries({"\x81\0t\1\1n\0", 7}).status()));
}

TEST(SeriesTest, AFalseLabelCountAllocatesNothing) {
  std::string bytes("\1t\1\1n", 5);
  AppendVarint(uint64_t{1} << 60, &bytes);
  EXPECT_TRUE(absl::IsDataLoss(ParseSeries(bytes).status()));
}

TEST(SeriesTest, SortLabelsRefusesANameThatOccursTwice) {
  std::vector<Label> labels = {{"b", "1"}, {"a", "2"}};
  EXPECT_TRUE(SortLabels(&labels));
  EXPECT_THAT(labels, ElementsAre(Label{"a", "2"}, Label{"b", "1"}));
  labels.push_back({"a", "3"});
  EXPECT_FALSE(SortLabels(&labels));
}

TEST(SeriesTest, SlotsAreInRangeAndAllUsed) {
  std::vector<int> series_per_slot(16, 0);
  for (int i = 0; i < 1600; ++i) {
    const int slot = SlotOf(IdOfSeries({.name = std::to_string(i)}), 16);
    ASSERT_GE(slot, 0);
    ASSERT_LT(slot, 16);
    ++series_per_slot[slot];
  }
  for (const int count : series_per_slot) EXPECT_GT(count, 50);
}

TEST(SeriesTest, KindsHaveNames) {
  EXPECT_EQ(KindName(Kind::kGauge), "gauge");
  EXPECT_EQ(KindName(Kind::kCounter), "counter");
  EXPECT_EQ(KindName(Kind::kUpDownCounter), "up_down_counter");
  EXPECT_EQ(KindName(Kind::kDistribution), "distribution");
}

TEST(LabelJsonTest, IsCompactAndInOrder) {
  EXPECT_EQ(LabelsToJson({}), "{}");
  EXPECT_EQ(LabelsToJson(Latency().labels), R"({"model":"gpt-5","region":"eu"})");
}

TEST(LabelJsonTest, EscapesWhatJsonDoesNotAllowInAString) {
  EXPECT_EQ(LabelsToJson({{"a\"b\\c", "\b\f\n\r\t\x01\x1f\x7f/"}}),
            R"({"a\"b\\c":"\b\f\n\r\t\u0001\u001f)"
            "\x7f/\"}");
  EXPECT_EQ(LabelsToJson({{"nul", std::string(1, '\0')}}), R"({"nul":"\u0000"})");
}

TEST(LabelJsonTest, EveryByteSurvivesARoundTrip) {
  std::string every_byte;
  for (int c = 0; c < 256; ++c) every_byte.push_back(static_cast<char>(c));
  const std::vector<Label> labels = {{every_byte, every_byte}, {"\xf0\x9f\x8c\x8a", "wave"}};
  std::vector<Label> sorted = labels;
  ASSERT_TRUE(SortLabels(&sorted));
  EXPECT_EQ(Labels(LabelsToJson(sorted)), sorted);
}

TEST(LabelJsonTest, ReadsWhiteSpaceEscapesAndAnyOrder) {
  EXPECT_THAT(Labels(" {\n\t\"b\" : \"\\/\\u0041\" ,\r\n \"a\":\"\\\"\\\\\\b\\f\\n\\r\\t\" } "),
              ElementsAre(Label{"a", "\"\\\b\f\n\r\t"}, Label{"b", "/A"}));
  EXPECT_THAT(Labels("{ }"), ElementsAre());
}

TEST(LabelJsonTest, UnicodeEscapesBecomeUtf8OfOneToFourBytes) {
  EXPECT_THAT(Labels(R"({"a":"\u007f\u00E9\u20ac\ud83c\udf0a"})"),
              ElementsAre(Label{"a", "\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8a"}));
}

TEST(LabelJsonTest, AnythingElseIsRefused) {
  for (const std::string_view json : {
           "",
           "null",
           "[]",
           "{",
           "{\"a\"",
           "{\"a\":",
           "{\"a\":\"",
           "{\"a\":\"b\"",
           "{\"a\":\"b\",}",
           "{\"a\":1}",
           "{\"a\":null}",
           "{\"a\":{}}",
           "{a:\"b\"}",
           "{'a':'b'}",
           "{\"a\":\"b\"}x",
           "{\"a\":\"b\"}{}",
           "{\"a\" \"b\"}",
           "{\"a\":\"b\" \"c\":\"d\"}",
           "{\"a\":\"\n\"}",
           "{\"a\":\"\\x\"}",
           "{\"a\":\"\\",
           "{\"a\":\"\\u",
           "{\"a\":\"\\u12",
           "{\"a\":\"\\u12g4\"}",
           "{\"a\":\"\\ud83c\"}",
           "{\"a\":\"\\ud83c\\n\"}",
           "{\"a\":\"\\ud83c\\u0041\"}",
           "{\"a\":\"\\udf0a\"}",
           "{\"a\":\"\\ud83c\\u",
           "{\"a\":\"1\",\"a\":\"2\"}",
           "{\"a\":\"1\",\"\\u0061\":\"2\"}",
       }) {
    const absl::Status status = LabelsFromJson(json).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << json << ": " << status;
  }
  EXPECT_THAT(std::string(LabelsFromJson("{\"a\":1}").status().message()), HasSubstr("byte 5"));
}

}  // namespace
}  // namespace weir
