"""A private PostgreSQL server, if its programs are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def programs() -> Path | None:
    """Find the folder of initdb and pg_ctl, which Debian keeps out of the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


@contextmanager
def server() -> Iterator[str]:
    """Run a server, and yield its URL: a socket in a folder that is removed afterwards."""
    found = programs()
    assert found is not None
    folder = Path(tempfile.mkdtemp())
    demoted: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        demoted = dict(user="postgres", group="postgres", extra_groups=[])
        shutil.chown(folder, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [str(found / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **demoted)

    run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
    log = str(folder / "log")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "start", "--wait", "--log", log, "--options", options)
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "stop", "--wait", "--mode=immediate")
        shutil.rmtree(folder)
