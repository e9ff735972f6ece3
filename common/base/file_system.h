// Files as the WAL needs them: append, sync, rename, and nothing that hides
// when bytes reach the disk.
//
// Two bindings: PosixFileSystem() here, and the simulated disk of
// common/testing, which loses any subset of what was not synced.
//
// Thread safety: a FileSystem is thread-safe; a file is thread-compatible,
// except that RandomAccessFile::Read may run beside the writer of that file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weir {

class WritableFile {
 public:
  virtual ~WritableFile() = default;

  // Appends all of `bytes` at the end, or fails. After an error the file may
  // hold any prefix of them.
  // Errors: ResourceExhausted (no space, quota), Unavailable (other I/O).
  virtual absl::Status Append(std::string_view bytes) = 0;

  // Makes everything appended durable (fdatasync, with the size). After an
  // error nothing is known of what is on the disk, and a second call that
  // succeeds proves nothing: the caller must not go on with this file.
  virtual absl::Status Sync() = 0;

  // Closes without syncing. Called by the destructor when it was not before.
  virtual absl::Status Close() = 0;
};

class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  // Reads up to `length` bytes at `offset` into `*out` (replaced); fewer only
  // at the end of the file.
  virtual absl::Status Read(uint64_t offset, size_t length, std::string* out) const = 0;
};

// Holds an exclusive lock until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// Errors common to all: NotFound, AlreadyExists, ResourceExhausted (no space, no
// quota), PermissionDenied, FailedPrecondition (the path cannot be such a thing),
// Unavailable (anything else the disk answers). The message names path and cause.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Creates `path`. Errors: AlreadyExists.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> CreateFile(const std::string& path) = 0;
  // Opens an existing file to append to it. Errors: NotFound.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenForRead(
      const std::string& path) = 0;

  // Names (not paths) in `directory`, sorted. Errors: NotFound.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& directory) = 0;
  virtual absl::StatusOr<uint64_t> FileSize(const std::string& path) = 0;
  virtual bool Exists(const std::string& path) = 0;

  // None of these is durable before SyncDirectory of the parent.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Unlink(const std::string& path) = 0;
  // Creates one directory; OK when it exists.
  virtual absl::Status CreateDirectory(const std::string& path) = 0;
  // Cuts the file to `size` bytes. Durable after SyncFile.
  virtual absl::Status Truncate(const std::string& path, uint64_t size) = 0;

  // Opens `path` and makes its contents durable, whoever wrote them.
  virtual absl::Status SyncFile(const std::string& path) = 0;
  // Writes the bytes that `path` holds over themselves, then syncs. After a sync
  // that failed, Linux keeps the unwritten pages and calls them clean, and so
  // every later sync succeeds without writing them; only writing them again does.
  virtual absl::Status RewriteFile(const std::string& path) = 0;
  // Makes names created, renamed or removed in `directory` durable.
  virtual absl::Status SyncDirectory(const std::string& directory) = 0;

  // Takes an exclusive lock on `path`, creating it.
  // Errors: FailedPrecondition when another process or object holds it.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
};

// The machine's file system. Lives for ever.
FileSystem& PosixFileSystem();

// Creates `path` and its missing parents, and syncs the parent of each, so that
// the whole path survives a power loss, whichever process created its parts.
absl::Status CreateDirectoriesDurably(FileSystem& files, const std::string& path);

// Reads a whole file of at most `limit` bytes.
// Errors: NotFound; ResourceExhausted when it is larger.
absl::StatusOr<std::string> ReadWholeFile(FileSystem& files, const std::string& path,
                                          uint64_t limit);

// Replaces `path` by `contents` so that after a crash at any instant it holds
// the old contents or the new: temporary file, fsync, rename, directory fsync.
absl::Status WriteFileAtomically(FileSystem& files, const std::string& directory,
                                 const std::string& name, std::string_view contents);

}  // namespace weir
