"""Reading and writing: TREC runs and qrels, JSONL, JSON, Parquet. Every write is atomic.

TREC run: `query_id Q0 doc_id rank score tag`. TREC qrels: `query_id iteration doc_id relevance`;
the iteration is 0, or the subtopic in collections judged per subtopic (the Web Track's diversity
task).
BEIR qrels: a header line, then `query-id<TAB>corpus-id<TAB>score`. The rank column of a run is
ignored, as trec_eval does: the score decides.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from evalkit.errors import DataError, OutputError
from evalkit.run import Run
from evalkit.types import Qrel

LARGEST_SCORE = float(np.finfo(np.float32).max)
# What a full disk and a used up quota are called; Windows has no quota of that name.
FULL_DISK = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_AS_UTF8 = "for instance with iconv -f GB18030 -t UTF-8"
BEIR_QRELS_HEADER = ("query-id", "corpus-id", "score")


def open_text(path: Path) -> IO[str]:
    """A UTF-8 text file, gzipped or not; a missing one is a DataError.

    A byte order mark at the start, as Windows editors write it, is no part of the text.
    """
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig")
        return open(path, encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of every line that is not blank."""
    with open_text(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\n").rstrip("\r")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {_undecodable_line(path)}: not UTF-8 ({error.reason}); save the "
                f"file as UTF-8, {_AS_UTF8}"
            ) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file ({error}); download it again") from error


def read_text(path: Path) -> str:
    """The whole of a UTF-8 text file, line ends as "\\n"; DataError with file and line."""
    with open_text(path) as file:
        try:
            return file.read()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {_undecodable_line(path)}: not UTF-8 ({error.reason}); save the "
                f"file as UTF-8, {_AS_UTF8}"
            ) from error


def _undecodable_line(path: Path) -> int:
    """The number of the first line that is not UTF-8: text is decoded ahead, in large blocks."""
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        numbered = enumerate(file, start=1)
        return next(n for n, line in numbered if line.decode(errors="ignore").encode() != line)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line of a JSONL file."""
    for number, line in lines_of(path):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}: not JSON (column {error.colno}: {error.msg}); "
                'every line must be one object such as {"_id": "1", "text": "..."}'
            ) from error
        if not isinstance(value, dict):
            raise DataError(f"{path}, line {number}: a {type(value).__name__}, expected an object")
        yield number, value


def read_qrels(path: Path) -> list[Qrel]:
    """Judgements of a TREC (4 columns) or BEIR (header, 3 columns) qrels file.

    TREC's second column is the subtopic ("Q0" is "0"). The same line twice is kept once; a query,
    doc and subtopic with two different grades is a DataError.
    """
    grades: dict[tuple[str, str, str], int] = {}
    beir = False
    for number, line in lines_of(path):
        fields = tuple(line.split("\t") if beir else line.split())
        if not grades and not beir and tuple(f.lower() for f in fields) == BEIR_QRELS_HEADER:
            beir = True
            continue
        expected = 3 if beir else 4
        if len(fields) != expected:
            if "," in line and len(line.split()) == 1:
                raise DataError(
                    f"{path}, line {number}: separated by commas; save it with tabs, as "
                    "query-id<TAB>corpus-id<TAB>score with that header"
                )
            layout = (
                "query-id<TAB>corpus-id<TAB>score"
                if beir
                else "query_id iteration doc_id relevance"
            )
            remedy = (
                "separate them by tabs"
                if beir
                else "a three-column file starts with the header 'query-id<TAB>corpus-id<TAB>score'"
            )
            raise DataError(
                f"{path}, line {number}: {len(fields)} columns, expected {expected} ({layout}); "
                + remedy
            )
        query_id, doc_id, grade = fields[0], fields[-2], fields[-1]
        try:
            relevance = int(grade.removesuffix(".0"))  # pandas writes 1.0
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: relevance '{grade}' is not a whole number; grades are 0, "
                "1, 2 and so on: scale or round yours"
            ) from error
        subtopic = "0" if beir or fields[1] == "Q0" else fields[1]
        key = query_id, doc_id, subtopic
        if grades.setdefault(key, relevance) != relevance:
            raise DataError(
                f"{path}, line {number}: query '{query_id}', doc '{doc_id}' is judged twice, "
                f"{grades[key]} and {relevance}; keep one line"
            )
    return [Qrel(query_id, doc_id, grade, sub) for (query_id, doc_id, sub), grade in grades.items()]


def read_run(path: Path) -> Run:
    """A TREC run; queries in the order of their first line."""
    queries: dict[str, int] = {}
    rows: list[int] = []
    doc_ids: list[str] = []
    scores: list[float] = []
    seen: set[tuple[int, str]] = set()
    for number, line in lines_of(path):
        fields = line.split()
        if len(fields) != 6:
            raise DataError(
                f"{path}, line {number}: {len(fields)} columns, expected 6 "
                "(query_id Q0 doc_id rank score tag)"
            )
        query_id, _, doc_id, _, score, _ = fields
        try:
            value = float(score)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: score '{score}' is not a number") from error
        if not abs(value) <= LARGEST_SCORE:
            raise DataError(f"{path}, line {number}: score '{score}' is not a finite float32")
        row = queries.setdefault(query_id, len(queries))
        if (row, doc_id) in seen:
            raise DataError(
                f"{path}, line {number}: doc '{doc_id}' a second time for query '{query_id}'; "
                "a ranking holds each doc once"
            )
        seen.add((row, doc_id))
        rows.append(row)
        doc_ids.append(doc_id)
        scores.append(value)
    if not queries:
        raise DataError(f"{path}: no results; expected lines 'query_id Q0 doc_id rank score tag'")
    return Run.from_columns(list(queries), np.asarray(rows), doc_ids, scores)


def format_run(run: Run, tag: str) -> str:
    """A TREC run file's text; ranks from 1, scores with all the digits of a float32."""
    query_ids = np.asarray(run.query_ids)[run.rows] if len(run) else ()
    return "".join(
        f"{q} Q0 {d} {r + 1} {np.format_float_positional(s, trim='-')} {tag}\n"
        for q, d, r, s in zip(query_ids, run.doc_ids, run.ranks, run.scores, strict=True)
    )


def format_qrels(qrels: Iterable[Qrel]) -> str:
    """A TREC qrels file's text, in the order given."""
    return "".join(f"{q.query_id} {q.subtopic} {q.doc_id} {q.relevance}\n" for q in qrels)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path`, synced to disk, if the block succeeds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise OutputError(
            f"{path.parent}: cannot be written ({error.strerror or error}); {_elsewhere(error)}"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); {_elsewhere(error)}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _elsewhere(error: OSError) -> str:
    """What to do about a place that takes no file."""
    first = "free some space, or " if error.errno in FULL_DISK else ""
    return f"{first}choose another folder with hydra.run.dir=DIR (results) or cache_dir=DIR (cache)"


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows has no such call and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted-as-given keys; a float that is not a number is refused, not written."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    write_text(path, text + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A JSON object a line; the rows are not held in memory."""
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    with open_text(path) as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error


def write_array(path: Path, array: np.ndarray) -> None:
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def write_parquet(path: Path, columns: dict[str, Sequence[Any] | np.ndarray]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")
