"""What every collection needs: its judged queries, a digest of its content, its warnings."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalkit.errors import DataError
from evalkit.io import read_jsonl
from evalkit.types import Doc, Qrel, Query, has_subtopics

DIGEST_BYTES = 16


class Judgements(NamedTuple):
    """The queries that have a judgement, in the collection's order, and their judgements."""

    queries: tuple[Query, ...]
    qrels: tuple[Qrel, ...]
    warnings: tuple[str, ...]


def judged(
    queries: Iterable[Query], qrels: Sequence[Qrel], relevance_level: int, source: object
) -> Judgements:
    """Queries with at least one judgement, and the judgements of queries that exist.

    Docs are not looked at: a relevant doc that the corpus lacks still counts in recall and in the
    ideal ranking of nDCG, as in trec_eval. Subtopics that no query has two of are all "0", so that
    an iteration column tells nothing apart where it has nothing to tell. Raises DataError when
    nothing is left to measure; `source` names the qrels in that message.
    """
    if not qrels:
        raise DataError(f"{source}: no judgements; a query is measured only if it has one")
    with_qrels = {q.query_id for q in qrels}
    kept = tuple(q for q in queries if q.query_id in with_qrels)
    if not kept:
        raise DataError(
            f"{source}: none of the {len(with_qrels)} judged queries (e.g. "
            f"'{qrels[0].query_id}') is among the collection's queries; "
            "queries and qrels must use the same query ids"
        )
    known = {q.query_id for q in kept}
    kept_qrels = tuple(q for q in qrels if q.query_id in known)
    if not has_subtopics(kept_qrels):
        kept_qrels = tuple(q if q.subtopic == "0" else q._replace(subtopic="0") for q in kept_qrels)
    warnings = []
    if unknown := sorted(with_qrels - known):
        dropped = len(qrels) - len(kept_qrels)
        warnings.append(
            f"qrels name {counted(len(unknown), 'query', 'queries')} not among the collection's "
            f"queries (e.g. '{unknown[0]}'); {counted(dropped, 'judgement')} "
            f"{'is' if dropped == 1 else 'are'} dropped"
        )
    if max(q.relevance for q in kept_qrels) < relevance_level:
        warnings.append(
            f"no judgement reaches relevance_level={relevance_level}; "
            "measures that count relevant docs are 0 for every query"
        )
    return Judgements(kept, kept_qrels, tuple(warnings))


def read_queries(path: Path) -> tuple[list[Query], dict[str, tuple[str, ...]]]:
    """Queries of a BEIR queries.jsonl in file order, and query_id → its optional "tags"."""
    queries: dict[str, Query] = {}
    tags: dict[str, tuple[str, ...]] = {}
    for number, value in read_jsonl(path):
        where = f"{path}, line {number}"
        query_id = checked_id(value, where)
        text = checked_text(value, where)
        if not text.strip():
            raise DataError(f"{where}: query '{query_id}' has an empty text; give it one or cut it")
        if query_id in queries:
            raise DataError(f"{where}: query id '{query_id}' a second time; keep one line a query")
        queries[query_id] = Query(query_id, text, _checked_texts(value, "history", where))
        if found := _checked_texts(value, "tags", where):
            tags[query_id] = found
    if not queries:
        raise DataError(
            f'{path}: no queries; expected a line such as {{"_id": "q1", "text": "..."}} for each'
        )
    return list(queries.values()), tags


def with_history(query: Query, turns: int | Literal["all"]) -> Query:
    """The query with its newest earlier turns in front of its text; older ones stay its history."""
    kept = 0 if turns == "all" else max(len(query.history) - turns, 0)
    text = " ".join([*query.history[kept:], query.text])
    return query._replace(text=text, history=query.history[:kept])


def checked_id(value: dict[str, Any], where: str) -> str:
    """The "_id" of a JSONL object; whole numbers become strings."""
    found = value.get("_id")
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if found is None or found == "":
        raise DataError(f'{where}: no "_id"; every line needs one, such as "_id": "d1"')
    if not isinstance(found, str):
        raise DataError(f'{where}: "_id" is {_shown(found)}, expected a string')
    if len(found.split()) != 1 or found != found.strip():
        raise DataError(
            f"{where}: id '{found}' holds white space, which TREC run files cannot carry; "
            "replace it, for instance by '_', here and in the qrels"
        )
    return found


def checked_text(value: dict[str, Any], where: str, field: str = "text") -> str:
    """A string field of a JSONL object; only the title may be absent."""
    found = value.get(field)
    if found is None and field == "title":
        return ""
    if found is None:
        what = f'"{field}" is null' if field in value else f'no "{field}"'
        raise DataError(f'{where}: {what}; every line needs it (it may be "" in a corpus)')
    if not isinstance(found, str):
        raise DataError(f'{where}: "{field}" is {_shown(found)}, expected a string')
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f'{where}: "{field}" holds half of a surrogate pair ({found[error.start]!r}), '
            "which is no text; cut it out"
        ) from error
    return found


def _shown(value: Any) -> str:
    return repr(value)[:40]


def _checked_texts(value: dict[str, Any], field: str, where: str) -> tuple[str, ...]:
    """An optional field that holds a list of strings: a query's tags, or its earlier turns."""
    found = value.get(field) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise DataError(f'{where}: "{field}" must be a list of strings, such as ["one", "two"]')
    return tuple(found)


class DocsSummary:
    """What one pass over the docs finds: their number, the empty ones, a digest of their content.

    The digest is over id, title and text in the collection's order; nothing else of a file counts.
    """

    def __init__(self) -> None:
        self.num_docs = 0
        self.num_empty = 0
        self.empty_example = ""
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def add(self, doc: Doc) -> None:
        self.num_docs += 1
        if not doc.text.strip() and not doc.title.strip():
            self.num_empty += 1
            self.empty_example = self.empty_example or doc.doc_id
        self._hash.update(_record(*doc))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def warnings(self, missing: Collection[str]) -> tuple[str, ...]:
        """One line each on empty docs and on judged docs that the corpus lacks (`missing`)."""
        lines = []
        if self.num_empty:
            lines.append(
                f"{counted(self.num_empty, 'doc')} with neither title nor text "
                f"(e.g. '{self.empty_example}'); kept, but nothing in them can match"
            )
        if missing:
            lines.append(
                f"qrels name {counted(len(missing), 'doc')} not in the corpus (e.g. "
                f"'{min(missing)}'); they count as relevant docs that no system can find"
            )
        return tuple(lines)


def content_digest(docs: str, judgements: Judgements) -> str:
    """A digest, 32 hex digits, of the docs' digest and of what is evaluated on them.

    Judgements count as a set: their order and file format do not matter. Subtopics count where
    there are any.
    """
    content = hashlib.blake2b(_record(docs), digest_size=DIGEST_BYTES)
    for query in judgements.queries:
        content.update(_record(query.query_id, query.text, *query.history))
    for query_id, doc_id, relevance, subtopic in sorted(judgements.qrels):
        about = () if subtopic == "0" else (subtopic,)
        content.update(_record(query_id, doc_id, str(relevance), *about))
    return content.hexdigest()


def _record(*fields: str) -> bytes:
    # The lengths in front keep ("ab", "c") and ("a", "bc") apart.
    text = f"{[len(field) for field in fields]}{''.join(fields)}"
    return text.encode("utf-8", "surrogatepass")


def unknown_docs(source: object, unknown: Sequence[str], asked: int) -> DataError:
    """The error for a lookup of docs that the corpus does not hold."""
    return DataError(
        f"{source}: {len(unknown)} of {counted(asked, 'doc')} asked for not in the corpus "
        f"(e.g. '{unknown[0]}'); the run must be made over the same collection as the dataset"
    )


def counted(count: int, one: str, many: str | None = None) -> str:
    """Such as "1 doc", "2 docs", "3 queries"."""
    return f"{count} {one if count == 1 else many or one + 's'}"
