"""The tasks of the command line, a module each, named as in `task=NAME`; none knows Hydra.

A task module has `Settings`, a dataclass of the keys that its YAML (conf/task/NAME.yaml) adds to
the config, and `perform(settings, job)`. A new task is a module, a YAML and a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.assembly import Parts
    from evalkit.settings import TrackingSettings


@dataclass(frozen=True)
class Job:
    """What a task may use of the config.

    folder: Hydra's run dir; it exists, and is removed when it stays empty. parts: builds the
    components of an experiment. component: builds the one that a config key describes, such as
    "llm". cache_dir: as the components read it. config: all of it, plain data.
    """

    folder: Path
    tracking: TrackingSettings
    parts: Callable[[], Parts]
    component: Callable[[str], Any]
    config: dict[str, Any]

    @property
    def cache_dir(self) -> str | None:
        return self.config["cache_dir"]

    @property
    def dry_run(self) -> bool:
        return self.config["dry_run"]


def task_module(name: str) -> ModuleType:
    """The module of a task; the names are those of conf/task/."""
    return import_module(f"evalkit.tasks.{name}")
