"""What can go wrong, in one tree.

    EvalkitError                 the user's own mistake: one line, exit code 2
    ├── ConfigError              a setting, an override, a combination of systems
    ├── DataError                a corpus, queries, qrels or run file (names file and line)
    ├── ModelNotFound            a model that is neither a path, nor cached, nor in a wheel
    ├── ScoreError               a retriever or reranker returned something that is no ranking
    ├── OutputError              the output folder or the cache cannot be written
    ├── RemoteError              a model server refused, failed for good, or the budget is spent
    ├── TrackingError            the tracking server refused or is down (never costs a result)
    └── Alarm                    no mistake: what was watched is over its limit; exit code 1

Every message says what was found, what was expected and how to put it right. Anything that is not
an `EvalkitError` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class EvalkitError(Exception):
    """A mistake that the user can put right; printed as one line, exit code 2."""

    exit_code = 2


class ConfigError(EvalkitError):
    """A setting is unknown, has a wrong value or does not fit the others."""


class DataError(EvalkitError):
    """A file or collection does not hold what it should; the message names file and line."""


class ModelNotFound(EvalkitError):
    """A model name could not be resolved; the message lists the remedies."""


class ScoreError(EvalkitError):
    """A retriever or reranker returned NaN, a duplicate document or the wrong number of scores."""


class OutputError(EvalkitError):
    """A folder cannot be written."""


class RemoteError(EvalkitError):
    """A model server gave no answer, or may not be asked any more; `status` is HTTP's, if any."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TrackingError(EvalkitError):
    """The tracking server cannot be used; results on disk are safe."""


class Alarm(EvalkitError):
    """A task did its work, and what it watches is over the limit that the user set."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as " Did you mean 'bm25'?", or an empty string when nothing known is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def without_credentials(text: str) -> str:
    """The text with `user:password@` taken out of every address in it."""
    return re.sub(r"(\w://)[^\s'\"]*@", r"\1", text)
