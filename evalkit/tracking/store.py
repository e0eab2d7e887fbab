"""The connection to an MLflow store: quick to fail, quiet, and silent about credentials.

MLflow 3.17 repeats a failing HTTP request for minutes, a failing database connection for 100
seconds, prints where to look at a run and logs the migrations of a new database. What it is set to
here holds for the duration of a call and no longer; what the user has set himself stays.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from evalkit.errors import TrackingError, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECRET = "***"
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# The first request finds out whether anybody is there; later ones may carry large files.
PROBE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
WORK = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
LONGEST_REASON = 300
# Stores of MLflow's own beside files of SQLite and servers; other schemes are those of plugins.
_KINDS = ("postgresql", "mysql", "mssql", "databricks", "databricks-uc")


class Address(NamedTuple):
    """Where a store is.

    uri: as MLflow gets it; a server's without credentials, a file's absolute. shown: as people and
    the store get to see it. login: a server's (user, password). artifacts: the folder for
    artifacts beside a database file. secrets: what no message may hold.
    """

    uri: str
    shown: str
    login: tuple[str, str] | None = None
    artifacts: Path | None = None
    secrets: tuple[str, ...] = ()

    @property
    def is_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    def scrub(self, text: str) -> str:
        """The text on one line, cut to a readable length, without credentials."""
        line = without_credentials(" ".join(text.split()))
        for secret in sorted(self.secrets, key=len, reverse=True):
            line = line.replace(secret, SECRET)
        return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + " ..."


def parse_address(uri: str) -> Address:
    """The address that `tracking.uri` names; a TrackingError if MLflow has no store of its kind."""
    expected = "expected sqlite:///mlflow.db, http://HOST:PORT or postgresql://USER@HOST/DATABASE"
    shown = without_credentials(uri or "")
    scheme, _, rest = (uri or "").partition("://")
    if not rest or scheme == "file":
        raise TrackingError(
            f"tracking.uri={shown} is no address of a database or server (MLflow no longer writes "
            f"to a plain folder); {expected}"
        )
    if scheme.partition("+")[0] == "sqlite":
        return _sqlite(scheme, rest, shown)
    userinfo = rest.rpartition("@")[0]
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    secrets = {userinfo, userinfo.partition(":")[2], password}
    if scheme not in ("http", "https"):
        plugins = (plugin.name for plugin in entry_points(group="mlflow.tracking_store"))
        if scheme.partition("+")[0] not in (*_KINDS, *plugins):
            raise TrackingError(
                f"tracking.uri={shown}: MLflow has no store of the kind '{scheme}'; {expected}"
            )
        hidden = dict(parse_qsl(rest.partition("?")[2]))
        secrets |= {v for k, v in hidden.items() if re.search("pass|pwd|token|key", k, re.I)}
        shown = shown.partition("?")[0]
        return Address(uri, shown, secrets=tuple(filter(None, secrets)))
    try:
        server, at = urlsplit(uri), "@" in urlsplit(uri).netloc
    except ValueError:
        raise TrackingError(f"tracking.uri={shown} is no valid address; {expected}") from None
    if not at:
        return Address(uri, shown, secrets=tuple(filter(None, secrets)))
    if not user or not password:
        raise TrackingError(
            f"tracking.uri of {shown} names a user or a password, not both; write "
            "http://USER:PASSWORD@HOST:PORT or set MLFLOW_TRACKING_TOKEN"
        )
    bare = server._replace(netloc=server.netloc.rpartition("@")[2]).geturl()
    return Address(bare, shown, (user, password), secrets=tuple(filter(None, secrets)))


def _sqlite(scheme: str, rest: str, shown: str) -> Address:
    name, mark, query = rest.partition("?")
    if not name.startswith("/") or name in ("/", "/:memory:"):
        raise TrackingError(
            f"tracking.uri={shown} names no file; expected sqlite:///mlflow.db, or "
            "sqlite:////home/me/mlflow.db with four slashes for an absolute path"
        )
    # MLflow keeps connections per address: a relative one would mean the first working directory.
    path = Path(name[1:]).absolute()
    return Address(f"{scheme}:///{path}{mark}{query}", shown, artifacts=path.parent / "mlartifacts")


@contextmanager
def connected(address: Address, on_failure: str) -> Iterator[MlflowClient]:
    """A client of the store, tried once; whatever MLflow raises in the block is a TrackingError.

    on_failure: what the message says at its end, such as how to log later.
    """
    login = {}
    if address.login:
        login["MLFLOW_TRACKING_USERNAME"], login["MLFLOW_TRACKING_PASSWORD"] = address.login
    with environment(SETTINGS), environment(login, override=True):
        try:
            import requests
            import sqlalchemy
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise TrackingError(
                f"MLflow cannot be imported ({error}); pip install mlflow"
            ) from error
        failures = (MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError)
        try:
            with quiet(), environment(PROBE):
                _open_database(address)
                client = MlflowClient(tracking_uri=address.uri, registry_uri=address.uri)
                client.search_experiments(max_results=1)
            with quiet(), environment(WORK):
                yield client
        except (*failures, OSError, ImportError) as error:
            message = f"{address.shown}: {address.scrub(_reason(error))}; {on_failure}"
            # A chained traceback would show what the message leaves out.
            raise TrackingError(message) from (None if address.secrets else error)


def _open_database(address: Address) -> None:
    """Connect once, because MLflow tries ten times, and create the tables of a new file."""
    if address.is_server:
        return
    import sqlalchemy

    if address.artifacts:
        address.artifacts.parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(address.uri, poolclass=sqlalchemy.NullPool)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if address.artifacts:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        # MlflowClient would put the artifacts of the experiment "Default" into ./mlruns.
        SqlAlchemyStore(address.uri, address.artifacts.as_uri())


def _reason(error: Exception) -> str:
    """What went wrong, in MLflow's words, or shorter where the network is to blame."""
    cause: BaseException | None = error
    while cause is not None:
        network = type(cause).__module__.partition(".")[0] == "urllib3"
        if network and "Timeout" in type(cause).__name__:
            return "no answer in time (MLFLOW_HTTP_REQUEST_TIMEOUT=60 waits for 60 seconds)"
        if network and re.search("Connection|Resolution", type(cause).__name__):
            return "cannot connect (" + str(cause).rpartition(": ")[2] + ")"
        if getattr(cause, "orig", None):  # SQLAlchemy's own text goes on with the SQL
            return str(cause.orig)  # type: ignore[attr-defined]
        cause = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
        cause = cause if isinstance(cause, BaseException) else None
    if "Host header" in str(error):
        return f"{error} (start the server with --allowed-hosts naming this host)"
    return str(error)


@contextmanager
def environment(values: Mapping[str, str], override: bool = False) -> Iterator[None]:
    """Environment variables for the length of the block; those already set stay, or not."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({k: v for k, v in values.items() if override or before[k] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines below ERROR from MLflow and from the migrations of its database."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
