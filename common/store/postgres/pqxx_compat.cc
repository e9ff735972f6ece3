#include "common/store/postgres/pqxx_compat.h"

#include <optional>
#include <string_view>

#if PQXX_VERSION_MAJOR < 7
// 6.4 makes a row by a recursion of string concatenations, field by field, which
// takes longer than the server does to store it. It lets a type say how it is
// escaped, though, so a row travels as one field of a type that already is.
namespace weir::store {
struct EscapedLine {
  std::string text;
};
}  // namespace weir::store

namespace pqxx::internal {
template <>
inline std::string TypedCopyEscaper::operator()<weir::store::EscapedLine>(
    const weir::store::EscapedLine* line) const {
  return line->text;
}
}  // namespace pqxx::internal
#endif

namespace weir::store {

#if PQXX_VERSION_MAJOR >= 7

std::unique_ptr<pqxx::connection> Connect(const std::string& conninfo) {
  return std::make_unique<pqxx::connection>(conninfo);
}

pqxx::result ExecParams(pqxx::transaction_base* tx, const std::string& sql,
                        const std::vector<std::string>& params) {
  pqxx::params list;
  list.reserve(params.size());
  for (const std::string& param : params) list.append(param);
#if PQXX_VERSION_MAJOR > 7 || PQXX_VERSION_MINOR >= 10
  return tx->exec(sql, list);
#else
  return tx->exec_params(sql, list);
#endif
}

struct CopyWriter::Stream {
  pqxx::stream_to stream;
  std::array<std::optional<std::string_view>, kCopyColumns> row;
};

CopyWriter::CopyWriter(pqxx::transaction_base* tx, const std::string& table,
                       const std::vector<std::string>& columns) {
  std::string list;
  for (const std::string& column : columns) {
    if (!list.empty()) list += ',';
    list += column;
  }
  stream_.reset(new Stream{pqxx::stream_to::raw_table(*tx, table, list), {}});
}

void CopyWriter::Write(const CopyRow& fields) {
  auto& row = stream_->row;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i] == nullptr) {
      row[i].reset();
    } else {
      row[i] = std::string_view(fields[i]);
    }
  }
  stream_->stream.write_row(row);
}

#else  // libpqxx 6

std::unique_ptr<pqxx::connection> Connect(const std::string& conninfo) {
  auto connection = std::make_unique<pqxx::connection>(conninfo);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // gone in 7, where it never reconnects
  connection->inhibit_reactivation(true);
#pragma GCC diagnostic pop
  return connection;
}

pqxx::result ExecParams(pqxx::transaction_base* tx, const std::string& sql,
                        const std::vector<std::string>& params) {
  return tx->exec_params(sql, pqxx::prepare::make_dynamic_params(params));
}

struct CopyWriter::Stream {
  pqxx::stream_to stream;
  std::array<EscapedLine, 1> line;
};

namespace {

// COPY's text format: tabs between fields, \N for NULL, backslash sequences for
// what would be mistaken for either.
void AppendEscaped(const char* field, std::string* line) {
  if (field == nullptr) {
    *line += "\\N";
    return;
  }
  for (; *field != '\0'; ++field) {
    switch (*field) {
      case '\\':
        *line += "\\\\";
        break;
      case '\t':
        *line += "\\t";
        break;
      case '\n':
        *line += "\\n";
        break;
      case '\r':
        *line += "\\r";
        break;
      default:
        *line += *field;
    }
  }
}

}  // namespace

CopyWriter::CopyWriter(pqxx::transaction_base* tx, const std::string& table,
                       const std::vector<std::string>& columns)
    : stream_(new Stream{pqxx::stream_to(*tx, table, columns), {}}) {}

void CopyWriter::Write(const CopyRow& fields) {
  std::string& line = stream_->line[0].text;
  line.clear();
  for (int i = 0; i < kCopyColumns; ++i) {
    if (i > 0) line += '\t';
    AppendEscaped(fields[i], &line);
  }
  stream_->stream << stream_->line;
}

#endif

std::string SqlStateOf(const pqxx::sql_error& error) {
  if (!error.sqlstate().empty()) return error.sqlstate();
  if (dynamic_cast<const pqxx::insufficient_privilege*>(&error)) return "42501";
  if (dynamic_cast<const pqxx::undefined_table*>(&error)) return "42P01";
  if (dynamic_cast<const pqxx::undefined_column*>(&error)) return "42703";
  if (dynamic_cast<const pqxx::undefined_function*>(&error)) return "42883";
  if (dynamic_cast<const pqxx::syntax_error*>(&error)) return "42601";
  if (dynamic_cast<const pqxx::data_exception*>(&error)) return "22000";
  if (dynamic_cast<const pqxx::check_violation*>(&error)) return "23514";
  if (dynamic_cast<const pqxx::integrity_constraint_violation*>(&error)) return "23000";
  return "";
}

CopyWriter::~CopyWriter() = default;

void CopyWriter::Complete() { stream_->stream.complete(); }

}  // namespace weir::store
