#include "common/base/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir {
namespace {

// `path: what failed: the system's words for it`, with the code that says what
// the caller does next.
absl::Status ErrnoStatus(int error, std::string_view path, std::string_view operation) {
  const std::string message =
      StrCat(path, ": ", operation, ": ", std::generic_category().message(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case EROFS:
    case EINVAL:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENOTDIR:
      return absl::FailedPreconditionError(message);
    default:
      return absl::UnavailableError(message);
  }
}

// Repeats a system call that a signal interrupted. Not for close(), which has
// closed the descriptor all the same on Linux.
template <typename Call>
auto RetryInterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

// An open descriptor; closes without looking at the answer.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor& operator=(Descriptor&&) = delete;

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::StatusOr<Descriptor> OpenDescriptor(const std::string& path, int flags) {
  // Readable by the owner's group, so that a backup needs no other identity.
  const int fd = RetryInterrupted([&] { return open(path.c_str(), flags | O_CLOEXEC, 0640); });
  if (fd < 0) return ErrnoStatus(errno, path, "open");
  return Descriptor(fd);
}

absl::Status ReadAt(int fd, const std::string& path, uint64_t offset, size_t length,
                    std::string* out) {
  out->resize(length);
  size_t filled = 0;
  while (filled < length) {
    const ssize_t count = RetryInterrupted([&] {
      return pread(fd, out->data() + filled, length - filled, static_cast<off_t>(offset + filled));
    });
    if (count < 0) {
      const int error = errno;
      out->clear();
      return ErrnoStatus(error, path, "read");
    }
    if (count == 0) break;
    filled += static_cast<size_t>(count);
  }
  out->resize(filled);
  return absl::OkStatus();
}

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(std::string path, Descriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t count =
          RetryInterrupted([&] { return write(fd_.get(), bytes.data(), bytes.size()); });
      if (count < 0) return ErrnoStatus(errno, path_, "write");
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    // fdatasync also writes the size, without which appended bytes are lost.
    if (RetryInterrupted([&] { return fdatasync(fd_.get()); }) != 0) {
      return ErrnoStatus(errno, path_, "fdatasync");
    }
    return absl::OkStatus();
  }

  absl::Status Close() override {
    const int fd = fd_.Release();
    if (fd >= 0 && close(fd) != 0 && errno != EINTR) return ErrnoStatus(errno, path_, "close");
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  Descriptor fd_;
};

class PosixRandomAccessFile final : public RandomAccessFile {
 public:
  PosixRandomAccessFile(std::string path, Descriptor fd)
      : path_(std::move(path)), fd_(std::move(fd)) {}

  absl::Status Read(uint64_t offset, size_t length, std::string* out) const override {
    return ReadAt(fd_.get(), path_, offset, length, out);
  }

 private:
  const std::string path_;
  const Descriptor fd_;
};

// flock, not fcntl: a fcntl lock is lost when any descriptor of the file is
// closed, and does not exclude a second opener in the same process.
class PosixFileLock final : public FileLock {
 public:
  explicit PosixFileLock(Descriptor fd) : fd_(std::move(fd)) {}

 private:
  const Descriptor fd_;
};

class PosixFileSystemImpl final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<WritableFile>> CreateFile(const std::string& path) override {
    return OpenWritable(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) override {
    return OpenWritable(path, O_WRONLY | O_APPEND);
  }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenForRead(const std::string& path) override {
    WEIR_ASSIGN_OR_RETURN(Descriptor fd, OpenDescriptor(path, O_RDONLY));
    return std::make_unique<PosixRandomAccessFile>(path, std::move(fd));
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override {
    DIR* const stream = opendir(directory.c_str());
    if (stream == nullptr) return ErrnoStatus(errno, directory, "opendir");
    std::vector<std::string> names;
    int error = 0;
    while (true) {
      errno = 0;
      const dirent* const entry = readdir(stream);
      if (entry == nullptr) {
        error = errno;
        break;
      }
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    closedir(stream);
    if (error != 0) return ErrnoStatus(error, directory, "readdir");
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::StatusOr<uint64_t> FileSize(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, path, "stat");
    return static_cast<uint64_t>(info.st_size);
  }

  bool Exists(const std::string& path) override {
    struct stat info;
    return stat(path.c_str(), &info) == 0;
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) {
      return ErrnoStatus(errno, from, StrCat("rename to ", to));
    }
    return absl::OkStatus();
  }

  absl::Status Unlink(const std::string& path) override {
    if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, path, "unlink");
    return absl::OkStatus();
  }

  absl::Status CreateDirectory(const std::string& path) override {
    if (mkdir(path.c_str(), 0750) == 0) return absl::OkStatus();
    if (errno != EEXIST) return ErrnoStatus(errno, path, "mkdir");
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, path, "stat");
    return S_ISDIR(info.st_mode) ? absl::OkStatus() : ErrnoStatus(ENOTDIR, path, "mkdir");
  }

  absl::Status Truncate(const std::string& path, uint64_t size) override {
    if (RetryInterrupted([&] { return truncate(path.c_str(), static_cast<off_t>(size)); }) != 0) {
      return ErrnoStatus(errno, path, "truncate");
    }
    return absl::OkStatus();
  }

  absl::Status SyncFile(const std::string& path) override {
    WEIR_ASSIGN_OR_RETURN(const Descriptor fd, OpenDescriptor(path, O_RDONLY));
    return SyncDescriptor(fd.get(), path);
  }

  absl::Status RewriteFile(const std::string& path) override {
    constexpr size_t kChunkBytes = size_t{1} << 20;
    WEIR_ASSIGN_OR_RETURN(const Descriptor fd, OpenDescriptor(path, O_RDWR));
    std::string chunk;
    uint64_t offset = 0;
    do {
      WEIR_RETURN_IF_ERROR(ReadAt(fd.get(), path, offset, kChunkBytes, &chunk));
      for (std::string_view rest = chunk; !rest.empty();) {
        const ssize_t count = RetryInterrupted(
            [&] { return pwrite(fd.get(), rest.data(), rest.size(), static_cast<off_t>(offset)); });
        if (count < 0) return ErrnoStatus(errno, path, "write");
        rest.remove_prefix(static_cast<size_t>(count));
        offset += static_cast<uint64_t>(count);
      }
    } while (chunk.size() == kChunkBytes);
    return SyncDescriptor(fd.get(), path);
  }

  absl::Status SyncDirectory(const std::string& directory) override {
    WEIR_ASSIGN_OR_RETURN(const Descriptor fd, OpenDescriptor(directory, O_RDONLY | O_DIRECTORY));
    return SyncDescriptor(fd.get(), directory);
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    WEIR_ASSIGN_OR_RETURN(Descriptor fd, OpenDescriptor(path, O_RDWR | O_CREAT));
    if (RetryInterrupted([&] { return flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno == EWOULDBLOCK) {
        return absl::FailedPreconditionError(
            StrCat(path, ": held by another process; is one running on this directory?"));
      }
      return ErrnoStatus(errno, path, "flock");
    }
    return std::make_unique<PosixFileLock>(std::move(fd));
  }

 private:
  static absl::StatusOr<std::unique_ptr<WritableFile>> OpenWritable(const std::string& path,
                                                                    int flags) {
    WEIR_ASSIGN_OR_RETURN(Descriptor fd, OpenDescriptor(path, flags));
    return std::make_unique<PosixWritableFile>(path, std::move(fd));
  }

  static absl::Status SyncDescriptor(int fd, const std::string& path) {
    if (RetryInterrupted([&] { return fsync(fd); }) != 0) return ErrnoStatus(errno, path, "fsync");
    return absl::OkStatus();
  }
};

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

FileSystem& PosixFileSystem() {
  static PosixFileSystemImpl* const files = new PosixFileSystemImpl;
  return *files;
}

absl::Status CreateDirectoriesDurably(FileSystem& files, const std::string& path) {
  for (size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string ancestor = path.substr(0, end);
    if (ancestor.empty() || ancestor == "/" || ancestor.back() == '/') continue;
    const bool existed = files.Exists(ancestor);
    WEIR_RETURN_IF_ERROR(files.CreateDirectory(ancestor));
    const absl::Status synced = files.SyncDirectory(ParentOf(ancestor));
    // A name that exists may still be one that a killed process created and did
    // not sync, so its parent is synced too; but a parent that we may not open,
    // or that lies on a read-only disk, cannot be one that we created names in.
    if (!synced.ok() && (!existed || absl::IsUnavailable(synced))) return synced;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWholeFile(FileSystem& files, const std::string& path,
                                          uint64_t limit) {
  WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> file, files.OpenForRead(path));
  WEIR_ASSIGN_OR_RETURN(const uint64_t size, files.FileSize(path));
  if (size > limit) {
    return absl::ResourceExhaustedError(
        StrCat(path, ": ", size, " bytes, more than the limit of ", limit));
  }
  std::string contents;
  WEIR_RETURN_IF_ERROR(file->Read(0, size, &contents));
  return contents;
}

absl::Status WriteFileAtomically(FileSystem& files, const std::string& directory,
                                 const std::string& name, std::string_view contents) {
  const std::string path = StrCat(directory, "/", name);
  const std::string temporary = path + ".tmp";
  // Left by a process that died here; it never had the real name.
  if (files.Exists(temporary)) WEIR_RETURN_IF_ERROR(files.Unlink(temporary));
  const auto write = [&]() -> absl::Status {
    WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files.CreateFile(temporary));
    WEIR_RETURN_IF_ERROR(file->Append(contents));
    // Before the rename: a name must never lead to bytes that are not there yet.
    WEIR_RETURN_IF_ERROR(file->Sync());
    WEIR_RETURN_IF_ERROR(file->Close());
    return files.Rename(temporary, path);
  };
  const absl::Status written = write();
  if (!written.ok()) {
    files.Unlink(temporary).IgnoreError();  // may not exist; the next call removes it
    return written;
  }
  return files.SyncDirectory(directory);
}

}  // namespace weir
