"""The address of a server, as a user may write it."""

from __future__ import annotations

from urllib.parse import urlsplit

from evalkit.errors import ConfigError, without_credentials


def checked_address(url: str) -> str:
    """The address without a slash at its end; ConfigError for what is none or holds a password."""
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        valid = None
    if not valid:
        raise ConfigError(
            f"url={without_credentials(url)}: expected an address such as http://localhost:8000"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"url of {parts.hostname}: give no user, password, question mark or # in it; a key "
            "belongs into an environment variable, named by api_key_env"
        )
    return url.strip().rstrip("/")
