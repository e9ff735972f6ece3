// The cases of window_property_test.cc in SQLite.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/store/sqlite/sqlite_store.h"
#include "tests/property/cases.h"

namespace weir::property {
namespace {

// In memory where there is such a folder: what a disk keeps is the business of
// other tests.
class Folder {
 public:
  Folder() {
    std::string path = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ::testing::TempDir();
    path += "/weir-property-XXXXXX";
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    path_ = path;
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  // A file that is not there, in a folder with no other.
  std::string NewFile() {
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      std::filesystem::remove(entry.path());
    }
    return (path_ / absl::StrCat(++count_, ".db")).string();
  }

 private:
  std::filesystem::path path_;
  int count_ = 0;
};

TEST(SqlitePropertyTest, EveryBinOfEveryWindowIsTheModels) {
  Folder folder;
  const Tally tally = RunCases({.cases = WEIR_PROPERTY_CASES, .shortening_runs = 300},
                               [&](const store::StoreOptions& options) {
                                 return store::SqliteStore::Open(folder.NewFile(), options);
                               });
  ExpectEverythingHappened(tally);
}

}  // namespace
}  // namespace weir::property
