// Everything that differs between libpqxx 6.4 and 7.x, and nothing else.
//
// These functions throw what libpqxx throws; Session catches and translates.
// Thread safety: one thread per connection at a time.
#pragma once

#include <array>
#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <vector>

namespace weir::store {

// Connects. The connection never reconnects behind our back: 6.x would, and the
// new session would know nothing of the old one's transaction.
std::unique_ptr<pqxx::connection> Connect(const std::string& conninfo);

// Runs one statement with parameters $1, $2, ... in text form; the parameters
// travel beside the statement and need no server-side preparation, so a
// transaction pooler may sit in between.
pqxx::result ExecParams(pqxx::transaction_base* tx, const std::string& sql,
                        const std::vector<std::string>& params);

// The error's SQLSTATE, or of one that has lost it (6.4 throws some types without)
// the one its type stands for; empty when neither tells.
std::string SqlStateOf(const pqxx::sql_error& error);

// One row of text fields, each ending with NUL; nullptr is NULL.
inline constexpr int kCopyColumns = 17;
using CopyRow = std::array<const char*, kCopyColumns>;

// COPY `table` (columns) FROM STDIN.
class CopyWriter {
 public:
  CopyWriter(pqxx::transaction_base* tx, const std::string& table,
             const std::vector<std::string>& columns);
  ~CopyWriter();
  CopyWriter(const CopyWriter&) = delete;
  CopyWriter& operator=(const CopyWriter&) = delete;

  void Write(const CopyRow& fields);
  // Ends the COPY and throws what went wrong. Always called: the destructor of
  // a pqxx stream swallows errors.
  void Complete();

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

}  // namespace weir::store
