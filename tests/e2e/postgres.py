"""A private PostgreSQL cluster: made for one test process, gone with it.

As root, the server runs as another user, because PostgreSQL refuses root.
"""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import psycopg

import processes


def _folder_of_binaries() -> pathlib.Path:
    found = sorted(
        pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parents[1].name),
    )
    assert found, "no PostgreSQL server below /usr/lib/postgresql: install the package postgresql"
    return found[-1].parent


class PostgresCluster:
    def __init__(self) -> None:
        self._bin = _folder_of_binaries()
        # Short, because the path of a unix socket may have 107 bytes, and not in
        # pytest's folder, which only its owner may enter.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-pg-"))
        self._user: dict = {}
        if os.getuid() == 0:
            account = self._unprivileged_account()
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.port = processes.free_port()
        self._databases = 0
        self._run(
            "initdb",
            "--pgdata",
            self._data,
            "--username=weir",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "--locale=C",
        )
        with open(self.folder / "data" / "postgresql.conf", "a", encoding="utf-8") as config:
            config.write(
                # The tests kill processes, never the machine, so the kernel keeps
                # what was written; a disk in the loop would only be slow.
                "fsync = off\n"
                "listen_addresses = '127.0.0.1'\n"
                f"port = {self.port}\n"
                f"unix_socket_directories = '{self.folder}'\n"
                "max_connections = 50\nshared_buffers = 64MB\nlog_min_messages = warning\n"
            )
        self.start()

    @staticmethod
    def _unprivileged_account():
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise AssertionError(
            "running as root, and there is no user postgres or nobody to run PostgreSQL as"
        )

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            **self._user,
        )
        assert done.returncode == 0, f"{program} failed:\n{done.stdout}\n{self.log_tail()}"

    def start(self) -> None:
        self._run(
            "pg_ctl", "start", "--wait", "--pgdata", self._data, "--log", str(self.folder / "log")
        )

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "--wait", "--pgdata", self._data, "--mode", mode)

    def remove(self) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def create_database(self) -> str:
        """Makes an empty database and returns its URL."""
        self._databases += 1
        name = f"weir_{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://weir@127.0.0.1:{self.port}/{database}"

    def log_tail(self, lines: int = 40) -> str:
        path = self.folder / "log"
        text = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join([f"--- {path}", *text[-lines:]])
