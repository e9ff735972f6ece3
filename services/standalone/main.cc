#include <cstdio>
#include <string>
#include <vector>

#include "common/base/file_system.h"
#include "common/frame/frame.h"
#include "common/wal/wal_inspect.h"
#include "services/standalone/load.h"
#include "services/standalone/run.h"

namespace {

constexpr char kUsage[] = R"(weir: exact windows over the traffic of LLM inference fleets

  weir run [--data_dir DIR]            collector and aggregator in one process
  weir load [--target HOST:PORT] ...   send samples, and say how long the answers take
  weir wal inspect DIR [--records]     what a collector's log holds

Each command explains itself with --help.
)";

constexpr char kWalUsage[] = R"(weir wal inspect DIR [--records]: what a collector's log holds

  DIR        where the log is: DATA_DIR/wal of `weir run`, --wal.directory of weir-collector
  --records  also a line for each record

Exits with 1 when the log is damaged.
)";

int InspectWal(const std::vector<std::string>& arguments) {
  weir::wal::InspectOptions options;
  options.describe = [](std::string_view payload) { return weir::frame::DescribeFrame(payload); };
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::fputs(kWalUsage, stdout);
      return 0;
    }
    if (argument == "--records") {
      options.list_records = true;
    } else if (argument.rfind("-", 0) == 0 || !options.directory.empty()) {
      std::fprintf(stderr, "weir wal inspect DIR [--records]: what is '%s'?\n", argument.c_str());
      return 2;
    } else {
      options.directory = argument;
    }
  }
  if (options.directory.empty()) {
    std::fprintf(stderr, "weir wal inspect DIR [--records]: DIR is missing\n");
    return 2;
  }
  const absl::Status status =
      weir::wal::Inspect(options, weir::PosixFileSystem(), [](std::string_view line) {
        std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
      });
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string command = arguments.empty() ? "" : arguments[0];
  if (command == "run") return weir::standalone::Run({arguments.begin() + 1, arguments.end()});
  if (command == "load") return weir::standalone::RunLoad({arguments.begin() + 1, arguments.end()});
  if (command == "wal" && arguments.size() > 1 && arguments[1] == "inspect") {
    return InspectWal({arguments.begin() + 2, arguments.end()});
  }
  if (command == "wal") return InspectWal({"--help"});
  const bool asked = command == "--help" || command == "-h" || command == "help";
  std::fputs(kUsage, asked ? stdout : stderr);
  if (!asked && !command.empty()) std::fprintf(stderr, "\nno such command: %s\n", command.c_str());
  return asked ? 0 : 2;
}
