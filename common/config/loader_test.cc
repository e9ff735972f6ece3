#include "common/config/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <map>

#include "common/base/strings.h"
#include "common/testing/status_matchers.h"

namespace weir::config {
namespace {

using test::IsOk;
using test::IsOkAndHolds;
using test::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

struct Config {
  std::string wal_directory = "/var/lib/weir";
  int64_t wal_quota_bytes = int64_t{1} << 30;
  int port = 4317;
  bool insecure = false;
  double ratio = 0.5;
  absl::Duration flush_interval = absl::Seconds(1);
  std::vector<std::string> peers = {"a:1"};
  std::string ack = "durable";
  std::string password = "hunter2";
};

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() { Bind(loader_, config_); }

  static void Bind(Loader& loader, Config& config) {
    loader.Add("wal.directory", &config.wal_directory, {.help = "Where the log is kept."});
    loader.Add("wal.quota_bytes", &config.wal_quota_bytes,
               {.help = "The most the log may take.", .unit = Unit::kBytes, .min = 1 << 20});
    loader.Add("port", &config.port, {.help = "The port.", .min = 0, .max = 65535});
    loader.Add("insecure", &config.insecure, {.help = "Serves other machines."});
    loader.Add("ratio", &config.ratio, {.help = "A ratio.", .min = 0, .max = 1});
    loader.Add("flush.interval", &config.flush_interval,
               {.help = "Time between flushes.", .min = 0.1, .max = 60});
    loader.Add("peers", &config.peers, {.help = "Where to deliver.", .min = 1, .max = 3});
    loader.Add("ack", &config.ack,
               {.help = "When to acknowledge.", .choices = {"durable", "committed"}});
    loader.Add("password", &config.password, {.help = "The password.", .secret = true});
  }

  absl::StatusOr<LoadResult> Load(const std::vector<std::string>& arguments) {
    return loader_.Load(arguments, [this](const std::string& name) -> std::optional<std::string> {
      const auto found = environment_.find(name);
      if (found == environment_.end()) return std::nullopt;
      return found->second;
    });
  }

  std::string WriteFile(const std::string& text) {
    const std::string path = ::testing::TempDir() + "/weir_loader_test.yaml";
    std::ofstream(path) << text;
    return path;
  }

  Config config_;
  Loader loader_{"weir-test", "Tests."};
  std::map<std::string, std::string> environment_;
};

TEST_F(LoaderTest, WithoutAnySourceTheDefaultsStay) {
  ASSERT_THAT(Load({}), IsOk());
  EXPECT_EQ(config_.port, 4317);
  EXPECT_EQ(config_.wal_directory, "/var/lib/weir");
}

TEST_F(LoaderTest, EveryTypeIsReadFromYaml) {
  ASSERT_THAT(loader_.LoadYaml("wal:\n"
                               "  directory: /tmp/wal\n"
                               "  quota_bytes: 64MiB\n"
                               "port: 0\n"
                               "insecure: true\n"
                               "ratio: 0.25\n"
                               "flush: {interval: 2s500ms}\n"
                               "peers: [\"b:1\", \"c,d:2\"]\n"
                               "ack: committed\n",
                               "weir.yaml"),
              IsOk());
  EXPECT_EQ(config_.wal_directory, "/tmp/wal");
  EXPECT_EQ(config_.wal_quota_bytes, 64 << 20);
  EXPECT_EQ(config_.port, 0);
  EXPECT_TRUE(config_.insecure);
  EXPECT_EQ(config_.ratio, 0.25);
  EXPECT_EQ(config_.flush_interval, absl::Milliseconds(2500));
  EXPECT_THAT(config_.peers, ElementsAre("b:1", "c,d:2"));
  EXPECT_EQ(config_.ack, "committed");
}

TEST_F(LoaderTest, AnEmptyFileChangesNothing) {
  EXPECT_THAT(loader_.LoadYaml("", "weir.yaml"), IsOk());
  EXPECT_THAT(loader_.LoadYaml("# nothing yet\n", "weir.yaml"), IsOk());
}

TEST_F(LoaderTest, AFlagBeatsTheEnvironmentWhichBeatsTheFile) {
  const std::string path = WriteFile("port: 1\nratio: 0.1\nwal:\n  directory: /file\n");
  environment_ = {{"WEIR_PORT", "2"}, {"WEIR_WAL_DIRECTORY", "/environment"}};
  ASSERT_THAT(Load({"--port=3", "--config", path}), IsOk());
  EXPECT_EQ(config_.port, 3);
  EXPECT_EQ(config_.wal_directory, "/environment");
  EXPECT_EQ(config_.ratio, 0.1);
}

TEST_F(LoaderTest, FlagsTakeTheirValueAfterEqualsOrASpace) {
  ASSERT_THAT(Load({"--wal.directory=/a=b", "--wal-quota_bytes", "2GiB", "--flush_interval=1m"}),
              IsOk());
  EXPECT_EQ(config_.wal_directory, "/a=b");
  EXPECT_EQ(config_.wal_quota_bytes, int64_t{2} << 30);
  EXPECT_EQ(config_.flush_interval, absl::Minutes(1));
}

TEST_F(LoaderTest, BooleansNeedNoValue) {
  ASSERT_THAT(Load({"--insecure"}), IsOk());
  EXPECT_TRUE(config_.insecure);
  ASSERT_THAT(Load({"--no_insecure"}), IsOk());
  EXPECT_FALSE(config_.insecure);
  ASSERT_THAT(Load({"--insecure=true"}), IsOk());
  ASSERT_THAT(Load({"--insecure=false"}), IsOk());
  EXPECT_FALSE(config_.insecure);
  ASSERT_THAT(Load({"--insecure", "file"}), IsOk());
  EXPECT_TRUE(config_.insecure);
  EXPECT_THAT(Load({"--insecure=yes"}),
              StatusIs(kInvalid, "--insecure: insecure: \"yes\" is not true or false"));
  EXPECT_THAT(Load({"--no_insecure=true"}), StatusIs(kInvalid, "--no_insecure: takes no value"));
  EXPECT_THAT(Load({"--no_port"}), StatusIs(kInvalid, HasSubstr("unknown flag")));
}

TEST_F(LoaderTest, ListsRepeatTheirFlagOrUseCommas) {
  ASSERT_THAT(Load({"--peers=a:1, b:2", "--peers", "c:3"}), IsOk());
  EXPECT_THAT(config_.peers, ElementsAre("a:1", "b:2", "c:3"));
  EXPECT_THAT(Load({"--peers=a,b,c,d"}),
              StatusIs(kInvalid,
                       "--peers: peers: has 4 elements; takes a list from 1 to 3 "
                       "elements, each text"));
  EXPECT_THAT(Load({"--peers="}), StatusIs(kInvalid, HasSubstr("has 0 elements")));
}

TEST_F(LoaderTest, WhatIsNoFlagIsPositional) {
  const auto result = Load({"inspect", "--port=1", "wal", "--", "--not_a_flag"});
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->positional, ElementsAre("inspect", "wal", "--not_a_flag"));
}

TEST_F(LoaderTest, AnUnknownKeyIsRefusedWithItsLineAndTheNearestKey) {
  EXPECT_THAT(loader_.LoadYaml("port: 1\nwal:\n  directroy: /x\n", "weir.yaml"),
              StatusIs(kInvalid,
                       "weir.yaml:3: wal.directroy: unknown key; did you mean "
                       "wal.directory?"));
  EXPECT_THAT(loader_.LoadYaml("directory: /x\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("did you mean wal.directory?")));
  EXPECT_THAT(loader_.LoadYaml("zzzzzzzz: 1\n", "weir.yaml"),
              StatusIs(kInvalid, "weir.yaml:1: zzzzzzzz: unknown key"));
  EXPECT_THAT(Load({"--prot=1"}), StatusIs(kInvalid, "--prot: unknown flag; did you mean --port?"));
  EXPECT_THAT(Load({"--confg=1"}), StatusIs(kInvalid, HasSubstr("did you mean --config?")));
}

TEST_F(LoaderTest, AWrongTypeIsRefusedWithWhatIsAllowed) {
  EXPECT_THAT(
      loader_.LoadYaml("\nport: many\n", "weir.yaml"),
      StatusIs(kInvalid, "weir.yaml:2: port: \"many\" is not a whole number from 0 to 65535"));
  EXPECT_THAT(loader_.LoadYaml("port: [1]\n", "weir.yaml"),
              StatusIs(kInvalid, "weir.yaml:1: port: takes one value, not a list"));
  EXPECT_THAT(loader_.LoadYaml("port:\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("port: takes a whole number from 0 to 65535, not "
                                           "nothing")));
  EXPECT_THAT(loader_.LoadYaml("port: {x: 1}\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("port.x: unknown key")));
  EXPECT_THAT(loader_.LoadYaml("peers: [[a]]\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("peers: takes a list")));
  EXPECT_THAT(loader_.LoadYaml("wal: /x\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("wal: unknown key")));
  EXPECT_THAT(loader_.LoadYaml("flush: {interval: 5}\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("is not a duration from 100ms to 1m, such as 10s")));
  EXPECT_THAT(loader_.LoadYaml("- port\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("weir.yaml:1: a configuration is a map")));
  EXPECT_THAT(loader_.LoadYaml("port: [1\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("weir.yaml:")));
}

TEST_F(LoaderTest, ValuesOutOfRangeAreRefused) {
  EXPECT_THAT(Load({"--port=65536"}), StatusIs(kInvalid, HasSubstr("from 0 to 65535")));
  EXPECT_THAT(Load({"--port=-1"}), StatusIs(kInvalid, HasSubstr("from 0 to 65535")));
  EXPECT_THAT(Load({"--port=99999999999999"}), StatusIs(kInvalid));
  EXPECT_THAT(Load({"--ratio=1.5"}), StatusIs(kInvalid, HasSubstr("a number from 0 to 1")));
  EXPECT_THAT(Load({"--ratio=nan"}), StatusIs(kInvalid));
  EXPECT_THAT(Load({"--ratio=inf"}), StatusIs(kInvalid));
  EXPECT_THAT(Load({"--flush.interval=2m"}), StatusIs(kInvalid, HasSubstr("from 100ms to 1m")));
  EXPECT_THAT(Load({"--flush.interval=inf"}), StatusIs(kInvalid));
  EXPECT_THAT(Load({"--wal.quota_bytes=1KiB"}),
              StatusIs(kInvalid, HasSubstr("a size of at least 1MiB")));
  EXPECT_THAT(Load({"--ack=never"}),
              StatusIs(kInvalid, "--ack: ack: \"never\" is not one of durable, committed"));
  EXPECT_EQ(config_.port, 4317);
}

TEST_F(LoaderTest, ARepeatedKeyIsRefused) {
  EXPECT_THAT(loader_.LoadYaml("port: 1\nratio: 0\nport: 2\n", "weir.yaml"),
              StatusIs(kInvalid, HasSubstr("port: given twice")));
  EXPECT_THAT(Load({"--port=1", "--port=2"}), StatusIs(kInvalid, "--port: given twice"));
}

TEST_F(LoaderTest, EveryProblemIsReportedAtOnce) {
  environment_ = {{"WEIR_RATIO", "high"}};
  const auto result = Load({"--prot=1", "--port=x", "--config", WriteFile("a_b_c_d_e_f: 1\n")});
  EXPECT_THAT(result, StatusIs(kInvalid, HasSubstr("unknown flag")));
  EXPECT_THAT(result, StatusIs(kInvalid, HasSubstr("unknown key")));
  EXPECT_THAT(result, StatusIs(kInvalid, HasSubstr("WEIR_RATIO: ratio: \"high\"")));
  EXPECT_THAT(result, StatusIs(kInvalid, HasSubstr("--port: port: \"x\"")));
}

TEST_F(LoaderTest, AFileThatIsNotThereIsNotFound) {
  EXPECT_THAT(Load({"--config=/does/not/exist"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/does/not/exist")));
  EXPECT_THAT(Load({"--config"}), StatusIs(kInvalid, "--config: needs a value"));
  EXPECT_THAT(Load({"--config=/"}), Not(IsOk()));
}

TEST_F(LoaderTest, WhatIsPrintedReadsBackAsTheSame) {
  ASSERT_THAT(Load({"--wal.directory=/with \"quotes\"\\ and \n", "--peers=1,true,c:3",
                    "--flush.interval=90ms100ms", "--ratio=0.1", "--wal.quota_bytes=1048577",
                    "--insecure", "--ack=committed"}),
              IsOk());
  const std::string printed = loader_.PrintConfig();
  EXPECT_THAT(printed, HasSubstr("# Where the log is kept.\n"));
  EXPECT_THAT(printed, HasSubstr("# password: <secret>\n"));
  EXPECT_THAT(printed, Not(HasSubstr("hunter2")));
  Config read;
  Loader reader("weir-test", "Tests.");
  Bind(reader, read);
  ASSERT_THAT(reader.LoadYaml(printed, "printed"), IsOk());
  EXPECT_EQ(read.wal_directory, config_.wal_directory);
  EXPECT_EQ(read.peers, config_.peers);
  EXPECT_EQ(read.flush_interval, config_.flush_interval);
  EXPECT_EQ(read.ratio, config_.ratio);
  EXPECT_EQ(read.wal_quota_bytes, config_.wal_quota_bytes);
  EXPECT_EQ(read.insecure, config_.insecure);
  EXPECT_EQ(read.ack, config_.ack);
}

TEST_F(LoaderTest, ABadSecretIsNotRepeated) {
  Loader loader("weir-test", "Tests.");
  std::string token;
  loader.Add("token", &token, {.help = "A token.", .choices = {"x"}, .secret = true});
  const auto result =
      loader.Load({"--token=s3cret"}, [](const std::string&) { return std::nullopt; });
  EXPECT_THAT(result, StatusIs(kInvalid, HasSubstr("<secret> is not")));
  EXPECT_THAT(result, StatusIs(kInvalid, Not(HasSubstr("s3cret"))));
}

TEST_F(LoaderTest, PrintConfigHelpAndVersionEndTheProgram) {
  auto result = Load({"--print_config", "--port=9"});
  ASSERT_THAT(result, IsOk());
  ASSERT_TRUE(result->print_and_exit.has_value());
  EXPECT_THAT(*result->print_and_exit, HasSubstr("port: 9\n"));
  EXPECT_THAT(*result->print_and_exit, HasSubstr("flush:\n  # Time between flushes.\n"));
  result = Load({"--help", "--port=nonsense"});
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(*result->print_and_exit, HasSubstr("--wal.quota_bytes=BYTES\n"));
  EXPECT_THAT(*result->print_and_exit, HasSubstr("Default 1GiB."));
  EXPECT_THAT(*result->print_and_exit, Not(HasSubstr("hunter2")));
  EXPECT_THAT(*Load({"--version"})->print_and_exit, HasSubstr("weir-test "));
  EXPECT_THAT(Load({"--print_config", "--port=x"}), StatusIs(kInvalid));
}

TEST(BytesTest, SizesAreReadInBothSystems) {
  EXPECT_THAT(ParseBytes("0"), IsOkAndHolds(0));
  EXPECT_THAT(ParseBytes("1048576"), IsOkAndHolds(1 << 20));
  EXPECT_THAT(ParseBytes("64MiB"), IsOkAndHolds(64 << 20));
  EXPECT_THAT(ParseBytes("64 MiB"), IsOkAndHolds(64 << 20));
  EXPECT_THAT(ParseBytes("1.5GiB"), IsOkAndHolds(int64_t{3} << 29));
  EXPECT_THAT(ParseBytes("10MB"), IsOkAndHolds(10'000'000));
  EXPECT_THAT(ParseBytes("2kB"), IsOkAndHolds(2000));
  EXPECT_THAT(ParseBytes("7B"), IsOkAndHolds(7));
  EXPECT_THAT(ParseBytes("9223372036854775807"), IsOkAndHolds(std::numeric_limits<int64_t>::max()));
  for (const char* bad : {"", "MiB", "1.5", "0.1B", "1e3KiB", "9223372036854775808", "8388608TiB",
                          "1 M", "64mib", "0.3333333KiB"}) {
    EXPECT_THAT(ParseBytes(bad), StatusIs(kInvalid)) << bad;
  }
}

TEST(BytesTest, SizesAreWrittenInTheLargestWholeUnit) {
  EXPECT_EQ(FormatBytes(0), "0");
  EXPECT_EQ(FormatBytes(1000), "1000");
  EXPECT_EQ(FormatBytes(1024), "1KiB");
  EXPECT_EQ(FormatBytes(64 << 20), "64MiB");
  EXPECT_EQ(FormatBytes((64 << 20) + 1), "67108865");
}

using LoaderDeathTest = LoaderTest;

TEST_F(LoaderDeathTest, BindingAKeyTwiceOrAReservedOneCrashes) {
  EXPECT_DEATH(loader_.Add("wal_directory", &config_.port, {.help = "x"}), "wal_directory");
  EXPECT_DEATH(loader_.Add("config", &config_.port, {.help = "x"}), "config");
  EXPECT_DEATH(loader_.Add("Port", &config_.port, {.help = "x"}), "Port");
  EXPECT_DEATH(loader_.Add("silent", &config_.port, {}), "silent");
}

}  // namespace
}  // namespace weir::config
