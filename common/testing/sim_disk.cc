#include "common/testing/sim_disk.h"

#include <algorithm>
#include <utility>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir::test {
namespace {

using Kind = SimDisk::Fault::Kind;

absl::Status InjectedError(std::string_view path, std::string_view operation) {
  return absl::UnavailableError(StrCat(path, ": ", operation, ": injected I/O error"));
}

absl::Status NotFound(std::string_view path) {
  return absl::NotFoundError(StrCat(path, ": no such file or directory"));
}

absl::Status DeadProcess(std::string_view path) {
  return absl::UnavailableError(StrCat(path, ": the process that opened it is gone"));
}

std::string_view ParentOf(std::string_view path) {
  const size_t slash = path.find_last_of('/');
  WEIR_CHECK_MSG(slash != std::string_view::npos, path);
  return slash == 0 ? path.substr(0, 1) : path.substr(0, slash);
}

}  // namespace

class SimDisk::SimWritableFile final : public WritableFile {
 public:
  SimWritableFile(SimDisk* disk, std::string path, FilePtr file, uint64_t generation)
      : disk_(disk), path_(std::move(path)), file_(std::move(file)), generation_(generation) {}

  absl::Status Append(std::string_view bytes) override {
    MutexLock lock(&disk_->mu_);
    if (closed_ || generation_ != disk_->generation_) return DeadProcess(path_);
    return disk_->AppendTo(file_.get(), path_, bytes);
  }

  absl::Status Sync() override {
    MutexLock lock(&disk_->mu_);
    if (closed_ || generation_ != disk_->generation_) return DeadProcess(path_);
    return disk_->SyncContents(file_.get(), path_, /*rewrite=*/false);
  }

  absl::Status Close() override {
    closed_ = true;
    return absl::OkStatus();
  }

 private:
  SimDisk* const disk_;
  const std::string path_;
  const FilePtr file_;
  const uint64_t generation_;
  bool closed_ = false;
};

class SimDisk::SimRandomAccessFile final : public RandomAccessFile {
 public:
  SimRandomAccessFile(SimDisk* disk, std::string path, FilePtr file, uint64_t generation)
      : disk_(disk), path_(std::move(path)), file_(std::move(file)), generation_(generation) {}

  absl::Status Read(uint64_t offset, size_t length, std::string* out) const override {
    MutexLock lock(&disk_->mu_);
    if (generation_ != disk_->generation_) return DeadProcess(path_);
    const std::string_view data = file_->data;
    out->assign(offset < data.size() ? data.substr(offset, length) : std::string_view());
    return absl::OkStatus();
  }

 private:
  SimDisk* const disk_;
  const std::string path_;
  const FilePtr file_;
  const uint64_t generation_;
};

class SimDisk::SimFileLock final : public FileLock {
 public:
  SimFileLock(SimDisk* disk, std::string path, uint64_t generation)
      : disk_(disk), path_(std::move(path)), generation_(generation) {}
  ~SimFileLock() override {
    MutexLock lock(&disk_->mu_);
    // A dead process' lock is gone already, and may be another's by now.
    if (generation_ == disk_->generation_) disk_->locks_.erase(path_);
  }

 private:
  SimDisk* const disk_;
  const std::string path_;
  const uint64_t generation_;
};

SimDisk::SimDisk() { directories_["/"].durable = true; }
SimDisk::~SimDisk() = default;

void SimDisk::SetFaultHook(FaultHook hook) {
  MutexLock lock(&mu_);
  hook_ = std::move(hook);
}

void SimDisk::FailNth(Operation operation, uint64_t n, Fault fault) {
  WEIR_CHECK(n > 0);
  MutexLock lock(&mu_);
  armed_.push_back({.operation = operation, .remaining = n, .fault = fault});
}

void SimDisk::ClearFaults() {
  MutexLock lock(&mu_);
  armed_.clear();
  hook_ = nullptr;
}

void SimDisk::SetCapacity(uint64_t bytes) {
  MutexLock lock(&mu_);
  capacity_bytes_ = bytes;
}

SimDisk::Counts SimDisk::counts() const {
  MutexLock lock(&mu_);
  return counts_;
}

uint64_t SimDisk::used_bytes() const {
  MutexLock lock(&mu_);
  return used_bytes_;
}

SimDisk::Fault SimDisk::NextFault(Operation operation, std::string_view path) {
  const size_t index = static_cast<size_t>(operation);
  ++counts_.operations[index];
  Fault fault;
  if (hook_) fault = hook_(operation, path);
  for (size_t i = 0; i < armed_.size();) {
    ArmedFault& armed = armed_[i];
    if (armed.operation == operation && --armed.remaining == 0) {
      if (fault.kind == Kind::kNone) fault = armed.fault;
      armed_.erase(armed_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  if (fault.kind != Kind::kNone) ++counts_.faults[index];
  return fault;
}

absl::StatusOr<SimDisk::Place> SimDisk::Find(const std::string& path) {
  const std::string_view parent = ParentOf(path);
  const auto directory = directories_.find(parent);
  if (directory == directories_.end()) return NotFound(parent);
  return Place{.directory = &directory->second, .name = path.substr(path.find_last_of('/') + 1)};
}

absl::StatusOr<SimDisk::FilePtr> SimDisk::FindFile(const std::string& path) {
  WEIR_ASSIGN_OR_RETURN(const Place place, Find(path));
  const auto entry = place.directory->names.find(place.name);
  if (entry == place.directory->names.end()) return NotFound(path);
  return entry->second;
}

// The file's last name is gone; whoever has it open may go on reading.
void SimDisk::Forget(const FilePtr& file) {
  file->named = false;
  used_bytes_ -= file->data.size();
}

void SimDisk::Apply(const NameChange& change, std::map<std::string, FilePtr, std::less<>>* names) {
  if (change.file != nullptr) {
    (*names)[change.to] = change.file;
    return;
  }
  const auto from = names->find(change.from);
  WEIR_CHECK(from != names->end());
  if (!change.to.empty()) (*names)[change.to] = from->second;
  names->erase(change.from);
}

absl::StatusOr<std::unique_ptr<WritableFile>> SimDisk::CreateFile(const std::string& path) {
  MutexLock lock(&mu_);
  const Fault fault = NextFault(Operation::kCreate, path);
  if (fault.kind != Kind::kNone && fault.kind != Kind::kFailAfter) {
    return InjectedError(path, "create");
  }
  WEIR_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.directory->names.contains(place.name) || directories_.contains(path)) {
    return absl::AlreadyExistsError(StrCat(path, ": file exists"));
  }
  auto file = std::make_shared<File>();
  place.directory->unsynced.push_back({.to = place.name, .file = file});
  Apply(place.directory->unsynced.back(), &place.directory->names);
  if (fault.kind == Kind::kFailAfter) return InjectedError(path, "create");
  return std::make_unique<SimWritableFile>(this, path, std::move(file), generation_);
}

absl::StatusOr<std::unique_ptr<WritableFile>> SimDisk::OpenForAppend(const std::string& path) {
  MutexLock lock(&mu_);
  WEIR_ASSIGN_OR_RETURN(FilePtr file, FindFile(path));
  return std::make_unique<SimWritableFile>(this, path, std::move(file), generation_);
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> SimDisk::OpenForRead(const std::string& path) {
  MutexLock lock(&mu_);
  WEIR_ASSIGN_OR_RETURN(FilePtr file, FindFile(path));
  return std::make_unique<SimRandomAccessFile>(this, path, std::move(file), generation_);
}

absl::StatusOr<std::vector<std::string>> SimDisk::List(const std::string& directory) {
  MutexLock lock(&mu_);
  const auto found = directories_.find(directory);
  if (found == directories_.end()) return NotFound(directory);
  std::vector<std::string> names;
  for (const auto& [name, file] : found->second.names) names.push_back(name);
  for (const auto& [path, child] : directories_) {
    if (path != "/" && ParentOf(path) == directory) {
      names.push_back(path.substr(path.find_last_of('/') + 1));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<uint64_t> SimDisk::FileSize(const std::string& path) {
  MutexLock lock(&mu_);
  WEIR_ASSIGN_OR_RETURN(const FilePtr file, FindFile(path));
  return file->data.size();
}

bool SimDisk::Exists(const std::string& path) {
  MutexLock lock(&mu_);
  return directories_.contains(path) || FindFile(path).ok();
}

absl::Status SimDisk::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(&mu_);
  const Fault fault = NextFault(Operation::kRename, from);
  if (fault.kind != Kind::kNone && fault.kind != Kind::kFailAfter) {
    return InjectedError(from, "rename");
  }
  WEIR_ASSIGN_OR_RETURN(const FilePtr file, FindFile(from));
  WEIR_ASSIGN_OR_RETURN(const Place target, Find(to));
  WEIR_CHECK_MSG(ParentOf(from) == ParentOf(to), "a rename stays within its directory");
  const auto replaced = target.directory->names.find(target.name);
  if (replaced != target.directory->names.end()) Forget(replaced->second);
  target.directory->unsynced.push_back(
      {.from = from.substr(from.find_last_of('/') + 1), .to = target.name});
  Apply(target.directory->unsynced.back(), &target.directory->names);
  return fault.kind == Kind::kFailAfter ? InjectedError(from, "rename") : absl::OkStatus();
}

absl::Status SimDisk::Unlink(const std::string& path) {
  MutexLock lock(&mu_);
  const Fault fault = NextFault(Operation::kUnlink, path);
  if (fault.kind != Kind::kNone && fault.kind != Kind::kFailAfter) {
    return InjectedError(path, "unlink");
  }
  WEIR_ASSIGN_OR_RETURN(const FilePtr file, FindFile(path));
  WEIR_ASSIGN_OR_RETURN(const Place place, Find(path));
  Forget(file);
  place.directory->unsynced.push_back({.from = place.name});
  Apply(place.directory->unsynced.back(), &place.directory->names);
  return fault.kind == Kind::kFailAfter ? InjectedError(path, "unlink") : absl::OkStatus();
}

absl::Status SimDisk::CreateDirectory(const std::string& path) {
  MutexLock lock(&mu_);
  if (directories_.contains(path)) return absl::OkStatus();
  const Fault fault = NextFault(Operation::kCreate, path);
  if (fault.kind != Kind::kNone && fault.kind != Kind::kFailAfter) {
    return InjectedError(path, "mkdir");
  }
  WEIR_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.directory->names.contains(place.name)) {
    return absl::FailedPreconditionError(StrCat(path, ": not a directory"));
  }
  directories_.try_emplace(path);
  return fault.kind == Kind::kFailAfter ? InjectedError(path, "mkdir") : absl::OkStatus();
}

absl::Status SimDisk::AppendTo(File* file, std::string_view path, std::string_view bytes) {
  const Fault fault = NextFault(Operation::kWrite, path);
  absl::Status status;
  switch (fault.kind) {
    case Kind::kNone:
      break;
    case Kind::kPartial:
      bytes = bytes.substr(0, fault.bytes);
      status = InjectedError(path, "write");
      break;
    case Kind::kFailAfter:
      status = InjectedError(path, "write");
      break;
    case Kind::kFail:
    case Kind::kLie:
      return InjectedError(path, "write");
  }
  if (capacity_bytes_ != 0 && file->named) {
    const uint64_t room = capacity_bytes_ - std::min(capacity_bytes_, used_bytes_);
    if (bytes.size() > room) {
      bytes = bytes.substr(0, room);
      ++counts_.out_of_space;
      status = absl::ResourceExhaustedError(StrCat(path, ": no space left on the disk"));
    }
  }
  file->data.append(bytes);
  if (file->named) used_bytes_ += bytes.size();
  return status;
}

absl::Status SimDisk::Truncate(const std::string& path, uint64_t size) {
  MutexLock lock(&mu_);
  const Fault fault = NextFault(Operation::kTruncate, path);
  if (fault.kind != Kind::kNone && fault.kind != Kind::kFailAfter) {
    return InjectedError(path, "truncate");
  }
  WEIR_ASSIGN_OR_RETURN(const FilePtr file, FindFile(path));
  used_bytes_ -= file->data.size();
  if (size < file->clean_size) {
    if (file->before_truncation == nullptr) {
      file->before_truncation =
          std::make_unique<std::string>(file->data.substr(0, file->clean_size));
    }
    file->clean_size = size;
    for (Range& range : file->lost) {
      range = {.begin = std::min(range.begin, size), .end = std::min(range.end, size)};
    }
  }
  file->data.resize(size);
  used_bytes_ += size;
  return fault.kind == Kind::kFailAfter ? InjectedError(path, "truncate") : absl::OkStatus();
}

absl::Status SimDisk::SyncContents(File* file, std::string_view path, bool rewrite) {
  const Fault fault = NextFault(Operation::kSync, path);
  const uint64_t size = file->data.size();
  switch (fault.kind) {
    case Kind::kFail:
      return InjectedError(path, "sync");
    case Kind::kPartial:
    case Kind::kLie: {
      const uint64_t written =
          fault.kind == Kind::kPartial ? std::min(fault.bytes, size - file->clean_size) : 0;
      file->lost.push_back({.begin = file->clean_size + written, .end = size});
      file->clean_size = size;
      return InjectedError(path, "sync");
    }
    case Kind::kNone:
    case Kind::kFailAfter:
      break;
  }
  file->clean_size = size;
  file->before_truncation.reset();
  if (rewrite) file->lost.clear();
  return fault.kind == Kind::kFailAfter ? InjectedError(path, "sync") : absl::OkStatus();
}

absl::Status SimDisk::SyncFile(const std::string& path) {
  MutexLock lock(&mu_);
  WEIR_ASSIGN_OR_RETURN(const FilePtr file, FindFile(path));
  return SyncContents(file.get(), path, /*rewrite=*/false);
}

absl::Status SimDisk::RewriteFile(const std::string& path) {
  MutexLock lock(&mu_);
  WEIR_ASSIGN_OR_RETURN(const FilePtr file, FindFile(path));
  return SyncContents(file.get(), path, /*rewrite=*/true);
}

absl::Status SimDisk::SyncDirectory(const std::string& directory) {
  MutexLock lock(&mu_);
  const auto found = directories_.find(directory);
  if (found == directories_.end()) return NotFound(directory);
  const Fault fault = NextFault(Operation::kSyncDirectory, directory);
  if (fault.kind != Kind::kNone && fault.kind != Kind::kFailAfter) {
    return InjectedError(directory, "sync directory");
  }
  for (const NameChange& change : found->second.unsynced) {
    Apply(change, &found->second.durable_names);
  }
  found->second.unsynced.clear();
  for (auto& [path, child] : directories_) {
    if (path != "/" && ParentOf(path) == directory) child.durable = true;
  }
  return fault.kind == Kind::kFailAfter ? InjectedError(directory, "sync directory")
                                        : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> SimDisk::Lock(const std::string& path) {
  MutexLock lock(&mu_);
  WEIR_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (!locks_.insert(path).second) {
    return absl::FailedPreconditionError(StrCat(path, ": held by another process"));
  }
  if (!place.directory->names.contains(place.name)) {
    place.directory->unsynced.push_back({.to = place.name, .file = std::make_shared<File>()});
    Apply(place.directory->unsynced.back(), &place.directory->names);
  }
  return std::make_unique<SimFileLock>(this, path, generation_);
}

void SimDisk::Install(const std::string& path, std::string contents) {
  MutexLock lock(&mu_);
  absl::StatusOr<Place> place = Find(path);
  WEIR_CHECK_OK(place.status());
  Directory* const directory = place->directory;
  auto file = std::make_shared<File>();
  file->clean_size = contents.size();
  file->data = std::move(contents);
  used_bytes_ += file->data.size();
  const auto replaced = directory->names.find(place->name);
  if (replaced != directory->names.end()) Forget(replaced->second);
  // Whatever was pending becomes durable with it: the name's history has no gap.
  for (const NameChange& change : directory->unsynced) Apply(change, &directory->durable_names);
  directory->unsynced.clear();
  directory->names[place->name] = file;
  directory->durable_names[place->name] = file;
}

void SimDisk::Crash() {
  MutexLock lock(&mu_);
  ++generation_;
  ++counts_.crashes;
  locks_.clear();
}

void SimDisk::PowerLoss(Random& random) {
  Crash();
  MutexLock lock(&mu_);
  ++counts_.power_losses;
  // A directory whose name is lost takes everything below it along. Parents come
  // before their children in the map's order.
  for (auto entry = directories_.begin(); entry != directories_.end();) {
    const bool orphan = entry->first != "/" && !directories_.contains(ParentOf(entry->first));
    if (orphan || (!entry->second.durable && random.OneIn(2))) {
      ++counts_.names_undone;
      entry = directories_.erase(entry);
    } else {
      entry->second.durable = true;
      ++entry;
    }
  }
  used_bytes_ = 0;
  for (auto& [path, directory] : directories_) {
    LoseNames(&directory, random);
    for (auto& [name, file] : directory.names) {
      LoseContents(file.get(), random);
      file->named = true;
      used_bytes_ += file->data.size();
    }
  }
}

void SimDisk::LoseNames(Directory* directory, Random& random) {
  // All, none, or about half: each extreme is a common case of its own.
  const uint64_t keep_percent = 50 * random.Below(3);
  absl::flat_hash_set<std::string_view> undone;  // names whose history has ended
  for (const NameChange& change : directory->unsynced) {
    const bool keep = random.Below(100) < keep_percent && !undone.contains(change.from) &&
                      !undone.contains(change.to);
    if (keep) {
      Apply(change, &directory->durable_names);
      ++counts_.names_kept;
      continue;
    }
    ++counts_.names_undone;
    if (!change.from.empty()) undone.insert(change.from);
    if (!change.to.empty()) undone.insert(change.to);
  }
  directory->unsynced.clear();
  directory->names = directory->durable_names;
}

void SimDisk::LoseContents(File* file, Random& random) {
  if (file->before_truncation != nullptr && random.OneIn(2)) {
    ++counts_.truncations_undone;
    file->data = *file->before_truncation;
    file->clean_size = file->data.size();
    file->lost.clear();
  }
  file->before_truncation.reset();
  if (file->clean_size == file->data.size() && file->lost.empty()) return;
  constexpr uint64_t kKeepPercents[] = {0, 50, 90, 100};
  const uint64_t keep_percent = kKeepPercents[random.Below(4)];
  const uint64_t size =
      random.OneIn(2) ? file->data.size() : random.Between(file->clean_size, file->data.size());
  file->data.resize(size);
  LoseSectors(file, {.begin = file->clean_size, .end = size}, keep_percent, random);
  for (const Range& range : file->lost) {
    LoseSectors(file, {.begin = range.begin, .end = std::min(range.end, size)}, keep_percent,
                random);
  }
  file->lost.clear();
  file->clean_size = size;
}

// A disk writes whole sectors, so bytes of one sector within the range share
// their fate; its bytes before the range are on the disk already.
void SimDisk::LoseSectors(File* file, Range range, uint64_t keep_percent, Random& random) {
  for (uint64_t begin = range.begin; begin < range.end;) {
    const uint64_t end = std::min(range.end, (begin / kSectorBytes + 1) * kSectorBytes);
    const size_t length = end - begin;
    char* const bytes = file->data.data() + begin;
    if (random.Below(100) < keep_percent) {
      ++counts_.sectors_kept;
    } else if (random.OneIn(2)) {
      ++counts_.sectors_zeroed;
      std::fill_n(bytes, length, '\0');
    } else {
      ++counts_.sectors_garbled;
      // Noise, or what another sector of this file held: stale bytes look real.
      const uint64_t source = random.Below(file->data.size() / kSectorBytes + 1) * kSectorBytes;
      if (random.OneIn(2) && source + length <= file->data.size()) {
        std::memmove(bytes, file->data.data() + source, length);
      } else {
        for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<char>(random());
      }
    }
    begin = end;
  }
}

}  // namespace weir::test
