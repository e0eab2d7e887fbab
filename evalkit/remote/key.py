"""An API key: read from the environment when it is used, held and shown nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from evalkit.errors import ConfigError

if TYPE_CHECKING:
    import httpx

# Upper case only: a key that was given in place of the variable's name is refused, unseen.
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
# What a server echoes is scrubbed of keys this long; a placeholder such as EMPTY is a word.
_LONG = 16

_missing: ContextVar[list[str] | None] = ContextVar("missing", default=None)


@contextmanager
def missing_keys() -> Iterator[list[str]]:
    """Within it a key that is not there is no error: its line is in the list. For a dry run, which
    sends nothing."""
    lines: list[str] = []
    token = _missing.set(lines)
    try:
        yield lines
    finally:
        _missing.reset(token)


class ApiKey:
    """The key in the environment variable `variable`; None for a server that wants none.

    It is itself the `auth` of an httpx client: it puts the key into each request's header. The
    value is never an attribute or a variable of a frame that can raise, so that no traceback holds
    it, not even one that shows variables.
    """

    def __init__(self, variable: str | None) -> None:
        if variable is not None and not _NAME.fullmatch(variable):
            raise ConfigError(
                f"api_key_env holds {len(variable)} characters that are no variable's name in "
                "capitals; export the key and give the variable's name, as in "
                "api_key_env=COHERE_API_KEY"
            )
        self.variable = variable

    def __repr__(self) -> str:
        return f"ApiKey({self.variable})"

    def __call__(self, request: httpx.Request) -> httpx.Request:
        if self.variable is not None:
            request.headers["Authorization"] = f"Bearer {_value(self.variable)}"
        return request

    def check(self, prefix: str = "") -> None:
        """ConfigError for a variable that is not set, or whose value is no key.

        prefix: of the setting that names the variable, such as "reranker.cohere.".
        """
        if self.variable is None:
            return
        if not _value(self.variable):
            line = (
                f"the environment variable {self.variable} is not set; export {self.variable}=KEY, "
                f"or name another with {prefix}api_key_env=NAME (null for a server without keys)"
            )
            noted = _missing.get()
            if noted is None:
                raise ConfigError(line)
            noted.append(line)
            return
        if not _is_header(self.variable):
            raise ConfigError(
                f"the environment variable {self.variable} holds spaces, line breaks or "
                "characters beyond ASCII; a key has none, export it again"
            )

    def scrub(self, text: str, least: int = 1) -> str:
        """The text without the key, if the key has `least` characters."""
        value = _value(self.variable) if self.variable else ""
        return text.replace(value, "***") if len(value) >= least and value else text

    def scrub_answer(self, text: str) -> str:
        """A server's answer without the key."""
        return self.scrub(text, _LONG)


def _value(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _is_header(variable: str) -> bool:
    return re.fullmatch(r"[!-~]+", _value(variable)) is not None
