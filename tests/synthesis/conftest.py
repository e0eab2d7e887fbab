"""A folder of documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import TEXTS


@pytest.fixture
def docs_folder(tmp_path: Path) -> Callable[[], Path]:
    def write() -> Path:
        for name, text in TEXTS.items():
            path = tmp_path / "docs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "docs"

    return write
