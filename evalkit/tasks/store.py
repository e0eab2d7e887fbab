"""task=store: what the stored scores are, whether they are sound, many segments merged into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from evalkit.cache import resolve_cache_dir
from evalkit.errors import DataError
from evalkit.progress import PLAIN, stdout
from evalkit.scoring import upkeep
from evalkit.tasks import Job


@dataclass(frozen=True)
class Settings:
    """action: "stats" shows what is stored of each scorer; "verify" reads all of it and sets
    damaged segments aside; "compact" merges each scorer's segments into one."""

    action: Literal["stats", "verify", "compact"] = "stats"


def perform(settings: Settings, job: Job) -> None:
    """Do it for every scorer of the cache folder's store; DataError if "verify" finds damage."""
    folder = resolve_cache_dir(job.cache_dir) / "scores"
    fingerprints = upkeep.scorers(folder)
    if not fingerprints:
        stdout.print(f"No scores in {folder}; another folder: cache_dir=DIR", **PLAIN)
        return
    stdout.print(f"Scores in {folder}", **PLAIN)
    actions: dict[str, Callable[[Path, list[str]], None]] = {
        "stats": show_stats,
        "verify": verify,
        "compact": compact,
    }
    actions[settings.action](folder, fingerprints)


def show_stats(folder: Path, fingerprints: list[str]) -> None:
    found = [upkeep.stats(folder, fingerprint) for fingerprint in fingerprints]
    for one in found:
        about = ", ".join(f"{key}={value}" for key, value in one.about.items())
        stdout.print(f"\n{one.fingerprint}  {about or '(no description)'}", **PLAIN)
        parts = [f"{one.pairs:,} pairs", counted(one.segments, "segment"), in_bytes(one.size)]
        if one.written is not None:
            when = datetime.fromtimestamp(one.written)
            parts.append(f"last written {when:%Y-%m-%d %H:%M}")
        parts.append(counted(one.damaged, "damaged file"))
        stdout.print(f"  {' · '.join(parts)}", **PLAIN)
    pairs, size = sum(one.pairs for one in found), sum(one.size for one in found)
    line = f"{counted(len(found), 'scorer')}, {pairs:,} pairs, {in_bytes(size)}"
    stdout.print(f"\nIn all: {line}", **PLAIN)


def verify(folder: Path, fingerprints: list[str]) -> None:
    damaged = 0
    for fingerprint in fingerprints:
        found = upkeep.verify(folder, fingerprint)
        damaged += len(found.damaged)
        line = f"{counted(found.segments, 'segment')} sound, {found.pairs:,} pairs"
        if found.damaged:
            line += f"; {len(found.damaged)} damaged, set aside"
        if found.stale:
            line += f"; {counted(found.stale, 'leftover')} of killed processes removed"
        stdout.print(f"{fingerprint}  {line}", **PLAIN)
    if damaged:
        raise DataError(
            f"{counted(damaged, 'damaged segment')} in {folder}, set aside as *.damaged; their "
            "pairs are scored again when they are needed, and the files may be deleted"
        )


def compact(folder: Path, fingerprints: list[str]) -> None:
    for fingerprint in fingerprints:
        found = upkeep.compact(folder, fingerprint)
        if found.segments < 2:
            line = f"{counted(found.segments, 'segment')}, nothing to merge"
        else:
            sizes = f"{in_bytes(found.size_before)} → {in_bytes(found.size_after)}"
            line = f"{found.segments:,} segments → 1, {found.pairs:,} pairs, {sizes}"
            line += f"; {found.repeated:,} repeated pairs dropped" if found.repeated else ""
        stdout.print(f"{fingerprint}  {line}", **PLAIN)


def counted(number: int, unit: str) -> str:
    """Such as "1 segment", "2 segments"."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def in_bytes(size: int) -> str:
    """A size as people read it, in powers of 1,000."""
    if size < 1000:
        return f"{size} B"
    value, units = size / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.1f} {units[0]}"
