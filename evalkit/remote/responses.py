"""Answers of servers on disk, so that no request is ever paid twice.

One SQLite file in WAL mode, a transaction an answer, safe for threads and for several processes.
A row holds the digest of a request, the answer's JSON and its checksum: neither the key nor the
request. A damaged file is set aside with a warning; what it held is asked again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from evalkit.errors import OutputError
from evalkit.measured import is_cold

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS responses "
    "(request BLOB PRIMARY KEY, answer TEXT NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID"
)


class ResponseStore:
    """The answers in `folder`/responses.sqlite3; opened at the first use."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "responses.sqlite3"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def get(self, request: bytes) -> str | None:
        """The stored answer to a request, by its digest; None where there is none."""
        if is_cold():
            return None
        rows = self._do("SELECT answer, checksum FROM responses WHERE request = ?", (request,))
        if not rows:
            return None
        answer, checksum = rows[0]
        if checksum != _checksum(answer):
            log.warning("%s: a damaged answer is asked again", self.path)
            return None
        return str(answer)

    def put(self, request: bytes, answer: str) -> None:
        """Keep an answer; durable when this returns."""
        if is_cold():
            return
        values = (request, answer, _checksum(answer))
        self._do("INSERT OR REPLACE INTO responses VALUES (?, ?, ?)", values)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _do(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                try:
                    return self._open().execute(statement, values).fetchall()
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError as error:
                    self._set_aside(str(error))
                    return self._open().execute(statement, values).fetchall()
            except (sqlite3.Error, OSError) as error:
                raise OutputError(
                    f"{self.path}: answers cannot be kept ({error}); choose another folder with "
                    "cache_dir=DIR"
                ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Autocommit: each statement is a transaction of its own.
            self._connection = sqlite3.connect(
                self.path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(_TABLE)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _set_aside(self, reason: str) -> None:
        """Rename a damaged file, unless another process has put a sound one in its place."""
        self._close()
        with suppress(sqlite3.DatabaseError):
            if self._open().execute("PRAGMA quick_check").fetchall() == [("ok",)]:
                return
        self._close()
        aside = self.path.with_suffix(".damaged")
        with suppress(FileNotFoundError):
            os.replace(self.path, aside)
        for log_file in ("-wal", "-shm"):
            Path(f"{self.path}{log_file}").unlink(missing_ok=True)
        log.warning("%s is damaged (%s); set aside, its answers are asked again", aside, reason)


def _checksum(answer: str) -> bytes:
    return hashlib.blake2b(answer.encode("utf-8", "surrogatepass"), digest_size=16).digest()
