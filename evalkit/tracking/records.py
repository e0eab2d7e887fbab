"""What of a task's folder goes to MLflow, where a single JSON record holds all that was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.io import read_json
from evalkit.tracking.content import DatasetContent, Output, RunContent, as_written, digest_of


class Runs(NamedTuple):
    """What a record says: a parent run, and its children if it has any."""

    dataset: DatasetContent
    parent: RunContent
    children: Sequence[RunContent] = ()


class Recorded(NamedTuple):
    """A task that leaves a record. record: its file's name. files: what is logged beside it, where
    it is there. remedy: what to do about a record that evalkit has not written. runs: folder and
    record → what they say."""

    record: str
    files: Iterable[str]
    remedy: str
    runs: Callable[[Path, Mapping[str, Any]], Runs]

    def is_in(self, folder: Path) -> bool:
        return (folder / self.record).is_file()

    def read(self, folder: Path) -> Output:
        """The folder's content; DataError where its record is not what evalkit writes."""
        folder = folder.resolve()
        path = folder / self.record
        record = read_json(path)
        with as_written(path, self.remedy):
            found = self.runs(folder, record)
        names = [Path(name) for name in (self.record, *self.files) if (folder / name).is_file()]
        return Output(folder, digest_of(path), found.dataset, found.parent, found.children, names)
