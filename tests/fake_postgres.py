"""A real PostgreSQL server of our own, on a socket in a temporary folder, or a reason why there is none."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# what the server writes is gone with its folder: it need not wait for the disk
_SETTINGS = "-c fsync=off -c full_page_writes=off -c listen_addresses='' -c max_connections=40 -c shared_buffers=16MB"


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a database of a fresh server."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's server programs (initdb, pg_ctl) are not installed")
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="kronos-pg-"))  # not pytest's: its folders are for their owner only
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)

        def call(program: str, *arguments: str) -> str | None:
            """Run one of the server's programs; what it complains of, or None."""
            owner = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            command = [str(programs / program), "-D", str(folder / "data"), *arguments]
            place = {**os.environ, "HOME": str(folder), "LC_ALL": "C"}
            out: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            done = subprocess.run(command, cwd=folder, env=place, check=False, **out, **owner)
            return done.stdout[-800:] if done.returncode else None

        sockets = f"{_SETTINGS} -c unix_socket_directories='{folder}'"
        made = call("initdb", "--username=kronos", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
        why = made or call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", sockets, "start")
        if why is not None:
            pytest.skip(f"PostgreSQL cannot run here: {why}")
        try:
            yield f"postgresql://kronos@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """Where initdb lies: on the path, else where Debian puts the newest version."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]), reverse=True)
    found = debian[0] if debian else shutil.which("initdb")
    return None if found is None else Path(found).parent


def _unprivileged() -> pwd.struct_passwd | None:
    """The server refuses to be run by root: who it is then; None where we are not root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names.get("nobody") or pytest.skip("there is no unprivileged user for PostgreSQL")
