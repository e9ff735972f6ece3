"""The unmodified grpcurl, which knows weir by reflection alone.

WEIR_GRPCURL names it; else it is looked for on the PATH and in build/tools.
"""

import json
import os
import shutil
import subprocess

from google.protobuf import json_format

import protos


def path() -> str:
    found = os.environ.get("WEIR_GRPCURL") or shutil.which(
        "grpcurl",
        path=os.pathsep.join(
            [os.environ.get("PATH", ""), str(protos.SOURCE_ROOT / "build" / "tools")]
        ),
    )
    assert found, "no grpcurl: set WEIR_GRPCURL, or let scripts/test build it into build/tools"
    return found


def run(
    address: str, *arguments: str, data=None, check: bool = True
) -> subprocess.CompletedProcess:
    command = [path(), "-plaintext", "-format-error", "-max-time", "30"]
    if data is not None:
        command += ["-d", data if isinstance(data, str) else json.dumps(data)]
    done = subprocess.run(
        [*command, address, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if check:
        assert (
            done.returncode == 0
        ), f"{' '.join(command)} {address} {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done


def call(address: str, method: str, data, answer):
    """Calls a method and fills the message `answer` from the JSON printed, whose
    names are in either of protobuf's two spellings."""
    return json_format.Parse(run(address, method, data=data).stdout, answer)
