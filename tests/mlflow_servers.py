"""A tracking server of MLflow, and a PostgreSQL cluster for it, that live as long as a block."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Starting MLflow takes ten seconds on a free machine.
PATIENCE_S = 180


@contextmanager
def serving(folder: Path, port: int, backend: str) -> Iterator[str]:
    """The address of a server with this database, its artifacts under the folder."""
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", f"{port}"]
    command += ["--backend-store-uri", backend]
    command += ["--artifacts-destination", f"{folder}/server-artifacts"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _is_up(uri):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError((folder / "server.log").read_text())
            time.sleep(0.5)
        # Health is said before the database is opened, which the first request then waits for.
        first = f"{uri}/api/2.0/mlflow/experiments/search?max_results=1"
        with urllib.request.urlopen(first, timeout=PATIENCE_S):
            pass
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)


def _is_up(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    on_path = shutil.which("initdb")
    # Debian keeps the server's programs off the PATH.
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = Path(on_path).resolve() if on_path else (debian[-1] if debian else None)
    return found.parent if found else None


@contextmanager
def postgresql(programs: Path, port: int) -> Iterator[str]:
    """HOST:PORT of a cluster of its own with a database "mlflow" of the user "evalkit"."""
    # PostgreSQL refuses to run as root; the user postgres comes with its packages.
    user = {"user": "postgres"} if os.geteuid() == 0 else {}

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [f"{programs}/{program}", *arguments],
            cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S, **user,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        run("initdb", "-D", data, "-U", "evalkit", "--auth=trust", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        run("pg_ctl", "-D", data, "-o", options, "-w", "-l", f"{folder}/log", "start")
        try:
            run("createdb", "-h", "127.0.0.1", "-p", f"{port}", "-U", "evalkit", "mlflow")
            yield f"127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
