# What scripts/run and scripts/test share: installing what is missing. Sourced,
# never run. A second run finds everything installed, asks no package index and
# needs no network.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What weir is built with. Every package is in Debian 12, Debian 13 and Ubuntu 24.04.
build_packages=(
  ca-certificates ccache cmake g++ git mold ninja-build pkg-config
  libabsl-dev libcpp-httplib-dev libfmt-dev libgrpc++-dev libisal-dev libpqxx-dev libprotobuf-dev
  libre2-dev libsnappy-dev libspdlog-dev libsqlite3-dev libssl-dev libyaml-cpp-dev
  nlohmann-json3-dev protobuf-compiler protobuf-compiler-grpc zlib1g-dev
)
# What the tests need beyond that: GoogleTest, a PostgreSQL server to start and
# stop, Python for the end-to-end and lint tests.
test_packages=(
  libbenchmark-dev libgmock-dev libgtest-dev postgresql python3 python3-venv
)
# What `scripts/test --all` needs beyond that.
clang_packages=(clang libclang-rt-dev llvm)

# grpcurl is in no distribution. This is the newest release that Go 1.19, which
# is Debian 12's, compiles; Go checks it against its checksum database.
grpcurl_module=github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.8.7

say() { printf '\n==> %s\n' "$*"; }
fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Runs a command whose output matters only when it fails.
quietly() {
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    fail "failed: $*"
  fi
  rm -f "$log"
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Installs the packages named that are not installed yet.
install_packages() {
  if ! command -v apt-get >/dev/null; then
    say "This is not Debian or Ubuntu: going on without installing anything. Needed: $*"
    return
  fi
  local missing=() package
  for package in "$@"; do
    installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
    fail "not root and no sudo; install first: ${missing[*]}"
  say "Installing ${#missing[@]} packages: ${missing[*]}"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  quietly as_root "${apt[@]}" update
  quietly as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
}

# Installs what the tests need. The PostgreSQL package would set up a database
# cluster and start it; the tests bring their own.
install_test_packages() {
  if command -v apt-get >/dev/null && ! installed postgresql-common &&
    { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }; then
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    printf 'create_main_cluster = false\n' |
      as_root tee /etc/postgresql-common/createcluster.d/weir.conf >/dev/null
  fi
  install_packages "$@"
}

# Makes build/venv, the Python of the tests, with pinned packages. It is made
# again when a requirements file changes.
make_venv() {
  local venv=$root/build/venv requirements=() file
  for file in tests/lint/requirements.txt tests/e2e/requirements.txt; do
    [ -f "$root/$file" ] && requirements+=("$root/$file")
  done
  local stamp
  stamp=$(cat "${requirements[@]}" | sha256sum)
  if [ -f "$venv/stamp" ] && [ "$(cat "$venv/stamp")" = "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    return
  fi
  say "Making the tests' Python environment in build/venv"
  rm -rf "$venv"
  quietly python3 -m venv "$venv"
  # One call a file: pip demands hashes of all packages or of none.
  for file in "${requirements[@]}"; do
    quietly "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$file"
  done
  printf '%s\n' "$stamp" >"$venv/stamp"
}

# Makes build/tools/grpcurl unless there is one, and puts it on the PATH.
make_grpcurl() {
  export PATH="$PATH:$root/build/tools"
  command -v grpcurl >/dev/null && return
  command -v go >/dev/null || install_packages golang-go
  say "Building grpcurl into build/tools"
  quietly env GOBIN="$root/build/tools" GOTOOLCHAIN=local go install "$grpcurl_module"
}

# Makes build/tools/prometheus unless there is one: the distribution's Prometheus,
# unpacked and not installed, since the package would start a service.
make_prometheus() {
  local package=$root/build/tools/prometheus-package
  [ -x "$root/build/tools/prometheus" ] && return
  if ! command -v apt-get >/dev/null; then
    say "This is not Debian or Ubuntu: put prometheus into build/tools for the test of remote write"
    return
  fi
  say "Unpacking Prometheus into build/tools"
  rm -rf "$package"
  mkdir -p "$package"
  # An image may come without lists of packages.
  local apt=(apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  apt-cache show prometheus >/dev/null 2>&1 || quietly as_root "${apt[@]}" update
  # As the user who runs this: apt's own may not write there.
  quietly env -C "$package" "${apt[@]}" -o APT::Sandbox::User="$(id -un)" download prometheus
  quietly dpkg-deb -x "$package"/prometheus_*.deb "$package"
  ln -sf prometheus-package/usr/bin/prometheus "$root/build/tools/prometheus"
}

# Makes build/clients: what tests/e2e/sdks needs of each language's OpenTelemetry
# SDK, pinned by a lock or manifest there; made again when that changes. Node is
# installed where it is missing. Go and Java are not, and neither is a newer one:
# their clients are then not run, and the reason is kept in `not_run` for the test.
make_sdk_clients() {
  # Python's are in build/venv.
  command -v npm >/dev/null || install_packages nodejs npm
  make_sdk_client node "$(node --version)" ""
  make_sdk_client go "$(go env GOVERSION 2>/dev/null)" "$(why_no_go)"
  make_sdk_client java "$(javac -version 2>&1)" "$(why_no_java)"
}

# make_sdk_client LANGUAGE TOOLCHAIN WHY_NOT: makes one with `build_LANGUAGE_client
# SOURCES FOLDER`, unless there is a reason not to.
make_sdk_client() {
  local language=$1 toolchain=$2 why_not=$3
  local sources=$root/tests/e2e/sdks/$language folder=$root/build/clients/$language stamp
  if [ -n "$why_not" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    printf '%s\n' "$why_not" >"$folder/not_run"
    say "Not run: the OpenTelemetry SDK for $language: $why_not"
    return
  fi
  stamp=$(cd "$sources" && { printf '%s\n' "$toolchain"; find . -type f | sort | xargs sha256sum; })
  if [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ]; then
    return
  fi
  say "Making the OpenTelemetry client for $language in build/clients"
  rm -rf "$folder"
  mkdir -p "$folder"
  "build_${language}_client" "$sources" "$folder"
  printf '%s\n' "$stamp" >"$folder/stamp"
}
build_node_client() {
  cp "$1"/package.json "$1"/package-lock.json "$2"
  quietly env -C "$2" npm ci --ignore-scripts --no-audit --no-fund
}
build_go_client() {
  quietly env GOTOOLCHAIN=local go build -C "$1" -mod=readonly -trimpath -o "$2/client" .
}
build_java_client() {
  quietly mvn --batch-mode --file "$1/pom.xml" "-Doutput=$2" \
    compiler:compile dependency:copy-dependencies
}

# Why a client cannot be built here; nothing if it can.
why_no_go() {
  local needed found
  needed=$(sed -n 's/^go //p' "$root/tests/e2e/sdks/go/go.mod")
  if ! command -v go >/dev/null; then
    echo "no go"
    return
  fi
  found=$(GOTOOLCHAIN=local go env GOVERSION)
  if [ "$(printf '%s\n' "$needed" "${found#go}" | sort -V | head -1)" != "$needed" ]; then
    echo "$found is older than $needed"
  fi
}
why_no_java() {
  local needed found
  needed=$(sed -n 's/.*<maven.compiler.release>\(.*\)<.*/\1/p' "$root/tests/e2e/sdks/java/pom.xml")
  if ! command -v javac >/dev/null || ! command -v mvn >/dev/null; then
    echo "no javac and mvn"
    return
  fi
  found=$(javac -version 2>&1 | sed 's/^javac \([0-9]*\).*/\1/')
  if [ "$found" -lt "$needed" ]; then
    echo "Java $found is older than $needed"
  fi
}
