#!/usr/bin/env python3
"""Dependencies point one way: which folder may include which, and who may touch a driver.

The tables below are the architecture. Changing one is a change of the
architecture, and is reviewed as such.
"""

import pathlib
import re

import sources

# Folder -> the folders of ours it may include besides itself. The longest
# folder that holds a file decides. `proto` stands for generated headers.
_CORE = {"common/base", "common/model"}
_ALL_COMMON = {"common"}
LAYERS = {
    "common/base": set(),
    "common/model": {"common/base"},
    "common/sketch": _CORE,
    "common/point": _CORE | {"common/sketch"},
    "common/alias": _CORE | {"common/point"},
    "common/slo": _CORE,
    "common/cost": _CORE,
    "common/frame": _CORE,
    "common/wal": {"common/base"},
    # What collector and aggregator say to each other.
    "common/delivery": _CORE | {"common/frame", "common/rpc", "proto"},
    # What applications record with.
    "common/client": _CORE | {"common/rpc", "proto"},
    "common/store": _CORE,
    "common/store/postgres": _CORE | {"common/store"},
    "common/store/sqlite": _CORE | {"common/store"},
    "common/config": {"common/base"},
    "common/telemetry": {"common/base"},
    "common/rpc": {"common/base", "proto"},
    "common/process": {"common/base", "common/config", "common/telemetry"},
    # Fakes and generators for every folder of common; only tests include it.
    "common/testing": _ALL_COMMON,
    "services/collector": _ALL_COMMON | {"proto"},
    "services/aggregator": _ALL_COMMON | {"proto"},
    "services/alerting": _ALL_COMMON | {"proto"},
    "services/gateway": _ALL_COMMON | {"proto"},
    # The all-in-one and the tools: the one place that sees every service.
    "services/standalone": _ALL_COMMON | {"proto", "services"},
    "tests": _ALL_COMMON | {"proto", "services", "tests"},
    "bench": _ALL_COMMON | {"proto", "services"},
    # What an application of somebody else would include.
    "examples": {"common/base", "common/client"},
    "cmake": set(),
}

# Headers we did not write -> the folders that may include them. What is not
# named here (the standard library, Abseil) may be included anywhere.
EXTERNAL = [
    (r"pqxx/", {"common/store/postgres", "common/testing", "tests", "bench"}),
    (r"libpq-fe\.h", {"common/store/postgres", "bench"}),
    (r"sqlite3\.h", {"common/store/sqlite", "tests", "bench"}),
    (r"(grpc|grpcpp|grpc\+\+)/", {"common/rpc", "common/client", "common/delivery",
                               "services", "tests", "bench", "cmake"}),
    (r"google/protobuf/", {"common/rpc", "common/delivery", "services", "tests", "bench"}),
    (r"httplib\.h", {"common/rpc", "common/telemetry", "services/gateway", "services/alerting",
                     "tests", "bench"}),
    (r"yaml-cpp/", {"common/config", "common/alias"}),
    (r"spdlog/", {"common/telemetry"}),
    (r"isa-l", {"common/base"}),
    (r"nlohmann/", {"services/alerting"}),
    (r"(gtest|gmock)/", {"common/testing", "tests"}),
    (r"benchmark/", {"bench"}),
]

# Generated headers stop where messages become values of ours: these files of a
# service may include them, the others may not.
GENERATED = re.compile(r"\.pb\.h$")
MAY_CONVERT = re.compile(
    r"^(common/rpc/|common/(client|delivery)/wire|tests/|bench/|services/standalone/"
    r"|services/[^/]+/((.*_)?(service|convert|reader|intake|http|stream|client|server)|main|app)(_test)?\.(cc|h)$)")

_INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
_TEST_FILE = re.compile(r"(_test|_bench|_fuzz)\.(cc|h)$")


def _within(path, folder):
    return path == folder or path.startswith(folder + "/")


def _layer(path):
    fitting = [folder for folder in LAYERS if _within(path, folder)]
    return max(fitting, key=len) if fitting else None


def check(root):
    """Returns every include that the tables do not allow."""
    root = pathlib.Path(root)
    found = []
    for path in sources.files(root, ".cc", ".h"):
        name = path.relative_to(root).as_posix()
        text = sources.without_comments(path.read_text())
        layer = _layer(name)
        if layer is None:
            found.append(f"{name}:1: no layer of tests/lint/check_layers.py holds this folder")
            continue
        for match in _INCLUDE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            reason = _refusal(name, layer, match.group(2))
            if reason:
                found.append(f"{name}:{line}: {match.group(2)}: {reason}")
    return found


def _refusal(name, layer, header):
    """Why `name` may not include `header`, or None."""
    is_test = bool(_TEST_FILE.search(name))
    if GENERATED.search(header):
        if not MAY_CONVERT.match(name):
            return "generated headers stop at the files that convert messages"
        return None
    if re.match(r"(common|services|tests|bench|proto|cmake)/", header):
        target = _layer(header)
        if target is None:
            return "no layer holds this folder"
        if target == layer:
            return None
        if target == "common/testing" and not is_test and layer not in ("tests", "bench"):
            return "only tests include common/testing"
        # A test may use the fakes, whatever its folder may include.
        if target == "common/testing":
            return None
        if any(_within(header, allowed) for allowed in LAYERS[layer]):
            # A store's interface, not the drivers behind it.
            if target.startswith("common/store/") and layer.startswith("common/"):
                if layer != "common/testing":
                    return f"{layer} may not include {target}"
            return None
        return f"{layer} may not include {target}"
    for pattern, folders in EXTERNAL:
        if re.match(pattern, header):
            if any(_within(name, folder) for folder in folders):
                return None
            if is_test and ("tests" in folders or pattern.startswith("benchmark")):
                return None
            return f"only {', '.join(sorted(folders))} may include it"
    return None


if __name__ == "__main__":
    sources.main(check, __doc__.splitlines()[0])
