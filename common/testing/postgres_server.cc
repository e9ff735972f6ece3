#include "common/testing/postgres_server.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <pqxx/pqxx>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"

namespace weir::test {
namespace {

void Sleep(absl::Duration duration) {
  Mutex mu;
  CondVar never;
  MutexLock lock(&mu);
  Clock& clock = Clock::System();
  const absl::Time deadline = clock.Now() + duration;
  while (clock.WaitUntil(&mu, &never, deadline)) {
  }
}

absl::StatusOr<std::string> FindBinaries() {
  if (const char* chosen = std::getenv("WEIR_POSTGRES_BIN"); chosen != nullptr) return chosen;
  int newest = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", error)) {
    int version = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &version)) continue;
    if (access((entry.path() / "bin/initdb").c_str(), X_OK) != 0) continue;
    newest = std::max(newest, version);
  }
  if (newest == 0) {
    return absl::FailedPreconditionError(
        "no PostgreSQL server under /usr/lib/postgresql/*/bin: install the package postgresql"
        " (scripts/test does), or name the folder in WEIR_POSTGRES_BIN");
  }
  return absl::StrCat("/usr/lib/postgresql/", newest, "/bin");
}

// Who the server runs as: nullptr for the user we are.
const passwd* ServerUser() {
  if (geteuid() != 0) return nullptr;
  const passwd* user = getpwnam("postgres");
  return user != nullptr ? user : getpwnam("nobody");
}

// Runs `args` as `user`, output into `log`; the child dies with this thread.
pid_t Spawn(const std::vector<std::string>& args, const passwd* user, const std::string& log) {
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  if (user != nullptr &&
      (setgroups(0, nullptr) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) {
    _exit(126);
  }
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != parent || chdir("/") != 0) _exit(126);
  execv(argv[0], argv.data());
  _exit(127);
}

int WaitFor(pid_t pid) {
  int status = -1;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

std::string Tail(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  return all.substr(all.size() > 2000 ? all.size() - 2000 : 0);
}

}  // namespace

PostgresServer::PostgresServer(Options options, std::string bin, std::string directory)
    : options_(options), bin_(std::move(bin)), directory_(std::move(directory)) {}

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::Start(Options options) {
  WEIR_ASSIGN_OR_RETURN(const std::string bin, FindBinaries());
  // A socket's path is at most 107 bytes, so not below a long TMPDIR.
  char directory[] = "/tmp/weir-postgres-XXXXXX";
  if (mkdtemp(directory) == nullptr) return absl::InternalError("mkdtemp failed");
  std::unique_ptr<PostgresServer> server(new PostgresServer(options, bin, directory));
  WEIR_RETURN_IF_ERROR(server->Initialize());
  WEIR_RETURN_IF_ERROR(server->Launch());
  return server;
}

PostgresServer::~PostgresServer() {
  Kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

absl::Status PostgresServer::Initialize() {
  const passwd* const user = ServerUser();
  if (user != nullptr && chown(directory_.c_str(), user->pw_uid, user->pw_gid) != 0) {
    return absl::InternalError(absl::StrCat("cannot give ", directory_, " to ", user->pw_name));
  }
  const std::string log = directory_ + "/log";
  const pid_t pid = Spawn({bin_ + "/initdb", "-D", directory_ + "/data", "-U", "postgres", "-A",
                           "trust", "-E", "UTF8", "--locale=C", "--no-sync"},
                          user, log);
  if (pid < 0 || WaitFor(pid) != 0) {
    return absl::InternalError(absl::StrCat("initdb failed: ", Tail(log)));
  }
  return absl::OkStatus();
}

absl::Status PostgresServer::Launch() {
  const std::string log = directory_ + "/log";
  // A server that was killed leaves processes that notice only after a moment;
  // until then the new one refuses to start.
  for (int attempt = 0; attempt < 100; ++attempt) {
    pid_ = Spawn({bin_ + "/postgres", "-D", directory_ + "/data", "-k", directory_, "-c",
                  "listen_addresses=", "-c", absl::StrCat("fsync=", options_.fsync ? "on" : "off"),
                  "-c", "max_connections=50", "-c", "shared_buffers=64MB"},
                 ServerUser(), log);
    if (pid_ < 0) return absl::InternalError("fork failed");
    while (waitpid(pid_, nullptr, WNOHANG) == 0) {
      try {
        pqxx::connection connection(conninfo());
        pqxx::nontransaction tx(connection);
        major_version_ =
            tx.exec("SELECT current_setting('server_version_num')")[0][0].as<int>() / 10000;
        return absl::OkStatus();
      } catch (const std::exception&) {
        Sleep(absl::Milliseconds(20));
      }
    }
    pid_ = -1;
    Sleep(absl::Milliseconds(100));
  }
  return absl::InternalError(absl::StrCat("the server does not start: ", Tail(log)));
}

std::string PostgresServer::conninfo(const std::string& database) const {
  return absl::StrCat("host=", directory_, " user=postgres dbname=", database);
}

absl::Status PostgresServer::CreateDatabase(const std::string& name) {
  try {
    pqxx::connection connection(conninfo());
    pqxx::nontransaction tx(connection);
    tx.exec("CREATE DATABASE " + tx.quote_name(name));
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

void PostgresServer::Stop() {
  if (pid_ <= 0) return;
  kill(pid_, SIGINT);
  WaitFor(pid_);
  pid_ = -1;
}

void PostgresServer::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  WaitFor(pid_);
  // Each backend leads a group of its own but keeps its working directory: what
  // still runs in ours is the server's.
  const std::string data = directory_ + "/data";
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    int pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    if (std::filesystem::read_symlink(entry.path() / "cwd", ignored) == data) kill(pid, SIGKILL);
  }
  pid_ = -1;
}

absl::Status PostgresServer::Restart() {
  Stop();
  return Launch();
}

}  // namespace weir::test
