"""task=synthesize: queries and judgements by a language model, for docs that have none."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.assembly import Parts, connected_retrievers
from evalkit.datasets.synthetic import ANSWERS_FROM
from evalkit.datasets.unjudged import UnjudgedCorpus
from evalkit.execution import ExecutionLog
from evalkit.progress import PLAIN, stdout
from evalkit.rerankers.llm_asking import checked_count
from evalkit.synthesis.cost import costs
from evalkit.synthesis.judge import Judge
from evalkit.synthesis.making import Made, Synthesis
from evalkit.synthesis.output import new_folder, write_corpus, write_judged
from evalkit.synthesis.queries import QueryWriter
from evalkit.synthesis.source import Sample, Source, dataset_source, read_source, sampled
from evalkit.tasks import Job
from evalkit.types import Retriever


@dataclass(frozen=True)
class Settings:
    """The keys of conf/task/synthesize.yaml, described there."""

    path: str | None
    out: str
    num_docs: int | None
    seed: int
    kinds: list[str]
    language: str
    passage_words: int
    least_words: int
    doc_words: int | None
    query_tokens: int
    longest_query: int
    keep_rank: int | None
    depth: int
    judge_prompt: str
    mode: str
    grade_tokens: int
    least_source_grade: int

    def __post_init__(self) -> None:
        if self.num_docs is not None:
            checked_count("num_docs", self.num_docs)
        checked_count("query_tokens", self.query_tokens)


def perform(settings: Settings, job: Job) -> None:
    synthesis = build(settings, job)
    if not job.dry_run:
        synthesis.check()
    source = _source(settings, job)
    sample = sampled(
        source, settings.num_docs, settings.seed, settings.least_words, settings.doc_words
    )
    stdout.print(source.line(), **PLAIN)
    out = Path(settings.out).expanduser()
    if job.dry_run:
        stdout.print(f"docs to write queries for: {len(sample.docs):,}", **PLAIN)
        for cost in costs(synthesis, sample):
            stdout.print(cost.line(job.config["llm"]), **PLAIN)
        return
    with new_folder(out) as folder:
        corpus = UnjudgedCorpus(write_corpus(folder, source.docs()), source.name)
        made = synthesis.make(corpus, sample.docs)
        about = _about(settings, job, synthesis, source, sample, made)
        write_judged(folder, made, mark(job.config), about)
    _show(out, made)


def build(settings: Settings, job: Job) -> Synthesis:
    """The parts that the config names, each checked."""
    llm = job.component("llm")
    return Synthesis(
        llm,
        QueryWriter(settings.kinds, settings.language, settings.query_tokens, settings.doc_words),
        Judge(
            llm,
            settings.judge_prompt,
            settings.language,
            settings.mode,
            settings.grade_tokens,
            settings.doc_words,
        ),
        systems(job.parts()),
        settings.longest_query,
        settings.keep_rank,
        settings.depth,
        settings.least_source_grade,
        job.config["doc_template"],
    )


def systems(parts: Parts) -> dict[str, Retriever]:
    """The selected retrievers; what is only a part of another is no system."""
    found = connected_retrievers(parts.retrievers)
    return {name: part for name, part in found.items() if name not in parts.hidden}


def _source(settings: Settings, job: Job) -> Source:
    if settings.path is None:
        return dataset_source(job.parts().dataset)
    return read_source(Path(settings.path).expanduser(), settings.passage_words)


def model_name(config: dict[str, Any]) -> str:
    """The language model as tables call it: its name, of a path the last part."""
    name = str(config["llm"].get("model") or config["llm"]["_target_"].rpartition(".")[2])
    path = Path(name).expanduser()
    return path.name if path.is_absolute() or path.exists() else name


def mark(config: dict[str, Any]) -> str:
    return f"synthetic queries and judgements ({model_name(config)})"


def _about(
    settings: Settings,
    job: Job,
    synthesis: Synthesis,
    source: Source,
    sample: Sample,
    made: Made,
) -> dict[str, Any]:
    """Where the collection comes from: no time, no path of this machine."""
    execution = ExecutionLog()
    execution.add_work("llm", synthesis.llm.work)
    given = {key: value for key, value in asdict(settings).items() if key not in ("path", "out")}
    kinds = list(synthesis.writer.prompts)
    return {
        "evalkit": __version__,
        "model": model_name(job.config),
        "llm_fingerprint": synthesis.llm.fingerprint,
        "settings": {**given, "kinds": kinds, "judge_prompt": Path(settings.judge_prompt).name},
        "query_prompts": {k: dict(p.digests) for k, p in synthesis.writer.prompts.items()},
        "judge": {**synthesis.judge.about, "prompt": Path(settings.judge_prompt).name},
        "retrievers": {name: r.fingerprint for name, r in synthesis.retrievers.items()},
        "source": {"name": source.name, **source.about},
        "docs": sample.num_docs,
        "docs_too_short": sample.too_short,
        "docs_with_queries_asked": len(sample.docs),
        **made.about,
        "work": execution.work.get("llm", {}),
    }


def _show(out: Path, made: Made) -> None:
    about = made.about
    dropped = ", ".join(f"{key} {value}" for key, value in about["dropped"].items()) or "none"
    lines = [
        f"queries: {about['queries']:,} of {about['asked']:,} asked for; dropped: {dropped}",
        f"judgements: {about['judgements']:,} (grade: count {_counts(about['grades'])}); answers "
        f"without a grade: {about['malformed']:,} of {about['pairs']:,}, left unjudged",
        *(f"  {draft.kind}: {draft.text}" for draft in _examples(made)),
        f"Collection: {out}, marked as synthetic by its synthetic.json. Read some of its queries, "
        "then:",
        f"  python -m evalkit dataset=folder {_override('dataset.path', out)} "
        f"dataset.relevance_level={ANSWERS_FROM}",
    ]
    for line in lines:
        stdout.print(line, **PLAIN)


def _counts(grades: dict[str, int]) -> str:
    return ", ".join(f"{grade}: {count:,}" for grade, count in grades.items())


def _examples(made: Made) -> list[Any]:
    """The first query of each kind."""
    first = {draft.kind: draft for draft in reversed(made.drafts)}
    return list(first.values())[::-1]


def _override(key: str, path: Path) -> str:
    """A setting as a shell and Hydra both read it."""
    text = str(path)
    plain = text.replace("/", "").replace("_", "").replace("-", "").replace(".", "").isalnum()
    return f"{key}={text}" if plain else shlex.quote(f'{key}="{text}"')
