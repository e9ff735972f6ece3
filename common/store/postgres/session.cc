// A nontransaction runs what it is told; BEGIN and COMMIT are our own statements.
// So a transaction's settings travel with its BEGIN in one message, and a failed
// COMMIT is classified like everything else.
#include "common/store/postgres/session.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"

namespace weir::store {
namespace {

constexpr int kOldestServer = 120000;

// Adds the defaults an operator has not set.
std::string WithDefaults(std::string conninfo) {
  const bool uri =
      absl::StartsWith(conninfo, "postgres://") || absl::StartsWith(conninfo, "postgresql://");
  constexpr std::pair<const char*, const char*> kDefaults[] = {{"connect_timeout", "5"},
                                                               {"tcp_user_timeout", "15000"},
                                                               {"application_name", "weir"},
                                                               {"client_encoding", "UTF8"}};
  for (const auto& [key, value] : kDefaults) {
    if (absl::StrContains(conninfo, absl::StrCat(key, "="))) continue;
    const char* const separator = !uri ? " " : absl::StrContains(conninfo, "?") ? "&" : "?";
    absl::StrAppend(&conninfo, separator, key, "=", value);
  }
  return conninfo;
}

// A connection that is refused has a text and no SQLSTATE. These texts mean that
// trying again changes nothing until someone changes the configuration.
bool RefusedForGood(const std::string& text) {
  return absl::StrContains(text, "authentication failed") ||
         absl::StrContains(text, "pg_hba.conf") ||
         ((absl::StrContains(text, "role \"") || absl::StrContains(text, "database \"")) &&
          absl::StrContains(text, "does not exist"));
}

std::string OneLine(const std::string& text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

}  // namespace

std::string QuoteIdentifier(const std::string& name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

Session::~Session() { Disconnect(); }

void Session::Disconnect() {
  // Ending a transaction on a dead connection may throw; there is nothing to
  // learn from it.
  try {
    tx_.reset();
    connection_.reset();
    quiet_.reset();  // last: closing has something to say, too
  } catch (const std::exception&) {
  }
}

absl::Status Session::Guard(const std::string& what, absl::FunctionRef<void()> body) {
  std::string text;
  std::string state;
  try {
    body();
    return absl::OkStatus();
  } catch (const pqxx::sql_error& error) {
    text = error.what();
    state = SqlStateOf(error);
  } catch (const pqxx::usage_error& error) {
    Disconnect();
    return absl::InternalError(absl::StrCat("postgres: ", what, ": ", error.what()));
  } catch (const std::exception& error) {
    text = error.what();
  }
  const std::string message =
      absl::StrCat("postgres: ", what, ": ", OneLine(text), state.empty() ? "" : " (", state,
                   state.empty() ? "" : ")");
  bool open = false;
  try {
    open = connection_ != nullptr && connection_->is_open();
  } catch (const std::exception&) {
  }
  const std::string_view state_class = std::string_view(state).substr(0, 2);
  if (open && (state_class == "22" || state_class == "23")) {
    return absl::InvalidArgumentError(message);
  }
  if (open &&
      (state_class == "28" || state_class == "3D" || state_class == "3F" || state_class == "42")) {
    return absl::FailedPreconditionError(message);
  }
  Disconnect();
  return absl::UnavailableError(absl::StrCat(message, "; the outcome is unknown, run it again"));
}

absl::Status Session::ConnectIfNeeded() {
  if (connection_ != nullptr) return absl::OkStatus();
  try {
    connection_ = Connect(WithDefaults(options_.conninfo));
    quiet_ = std::make_unique<pqxx::quiet_errorhandler>(*connection_);
  } catch (const std::exception& error) {
    const std::string text = absl::StrCat("postgres: connect: ", OneLine(error.what()));
    if (RefusedForGood(text)) return absl::FailedPreconditionError(text);
    return absl::UnavailableError(text);
  }
  std::string synchronous_commit;
  std::string encoding;
  WEIR_RETURN_IF_ERROR(Guard("connect", [&] {
    pqxx::nontransaction tx(*connection_);
    const pqxx::result row = tx.exec(
        "SELECT current_setting('server_version_num'), current_setting('synchronous_commit'),"
        " current_setting('server_encoding')");
    server_version_ = row[0][0].as<int>();
    synchronous_commit = row[0][1].c_str();
    encoding = row[0][2].c_str();
  }));
  if (server_version_ < kOldestServer) {
    const std::string text =
        absl::StrCat("postgres: the server is version ", server_version_ / 10000, ", weir needs ",
                     kOldestServer / 10000, " or later");
    Disconnect();
    return absl::FailedPreconditionError(text);
  }
  if (encoding != "UTF8") {
    Disconnect();
    return absl::FailedPreconditionError(
        absl::StrCat("postgres: the database's encoding is ", encoding, ", weir needs UTF8"));
  }
  begin_settings_ = absl::StrCat(
      "; SET LOCAL search_path TO ", QuoteIdentifier(options_.schema),
      "; SET LOCAL statement_timeout TO ", absl::ToInt64Milliseconds(options_.statement_timeout),
      "; SET LOCAL lock_timeout TO ", absl::ToInt64Milliseconds(options_.lock_timeout),
      "; SET LOCAL idle_in_transaction_session_timeout TO 60000",
      "; SET LOCAL cursor_tuple_fraction TO 1; SET LOCAL extra_float_digits TO 1"
      "; SET LOCAL bytea_output TO hex");
  // A committed reply means durable; a server that is configured to promise
  // less is asked for more.
  if (synchronous_commit == "off") begin_settings_ += "; SET LOCAL synchronous_commit TO on";
  return absl::OkStatus();
}

absl::Status Session::BeginWith(const std::string& mode) {
  WEIR_RETURN_IF_ERROR(ConnectIfNeeded());
  return Guard("begin", [&] {
    tx_ = std::make_unique<pqxx::nontransaction>(*connection_);
    tx_->exec("BEGIN" + mode + begin_settings_);
  });
}

absl::Status Session::Commit() {
  return Guard("commit", [&] {
    tx_->exec("COMMIT");
    tx_.reset();
  });
}

void Session::Rollback() {
  if (tx_ == nullptr) return;
  const absl::Status status = Guard("rollback", [&] {
    tx_->exec("ROLLBACK");
    tx_.reset();
  });
  if (!status.ok()) Disconnect();
}

absl::Status Session::Execute(const std::string& sql) {
  return Guard(sql.substr(0, 200), [&] { tx_->exec(sql); });
}

absl::StatusOr<pqxx::result> Session::Exec(const std::string& sql,
                                           const std::vector<std::string>& params) {
  pqxx::result result;
  WEIR_RETURN_IF_ERROR(Guard(sql.substr(0, 200), [&] {
    result = params.empty() ? tx_->exec(sql) : ExecParams(tx_.get(), sql, params);
  }));
  return result;
}

absl::StatusOr<std::vector<std::vector<std::string>>> Session::Query(const std::string& sql) {
  WEIR_ASSIGN_OR_RETURN(const pqxx::result result, Exec(sql));
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : result) {
    std::vector<std::string> values;
    for (const auto& field : row) values.emplace_back(field.c_str());
    rows.push_back(std::move(values));
  }
  return rows;
}

absl::Status Session::Copy(const std::string& table, const std::vector<std::string>& columns,
                           absl::FunctionRef<void(CopyWriter*)> write) {
  return Guard(absl::StrCat("copy ", table), [&] {
    CopyWriter writer(tx_.get(), table, columns);
    write(&writer);
    writer.Complete();
  });
}

}  // namespace weir::store
