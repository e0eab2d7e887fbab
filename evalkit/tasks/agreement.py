"""task=agreement: a language model judges again what people judged; κ, and τ of the systems' order.

Writes agreement.json, agreement.md and the model's judgements, qrels.tsv with its synthetic.json.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evalkit.assembly import Parts
from evalkit.datasets.collection import counted
from evalkit.datasets.synthetic import KEY, SYNTHETIC_FILE, VERSION
from evalkit.io import BEIR_QRELS_HEADER, write_json, write_text
from evalkit.llm.prompts import word_count
from evalkit.progress import PLAIN, stdout
from evalkit.report.layout import MISSING, Cell, Column, Table, number, percent
from evalkit.report.names import display_name
from evalkit.report.render import to_markdown
from evalkit.settings import BootstrapSettings, MeasureSettings, checked
from evalkit.synthesis.agreement import Agreement, as_json
from evalkit.synthesis.cost import judging
from evalkit.synthesis.judge import Judge
from evalkit.synthesis.study import AgreementStudy
from evalkit.tasks import Job
from evalkit.tasks.shown import show
from evalkit.tasks.synthesize import model_name, systems
from evalkit.types import Dataset


@dataclass(frozen=True)
class Settings:
    """The keys of conf/task/agreement.yaml, described there."""

    num_queries: int | None
    seed: int
    depth: int
    count_unjudged: bool
    language: str
    doc_words: int | None
    judge_prompt: str
    mode: str
    grade_tokens: int


def perform(settings: Settings, job: Job) -> None:
    parts = job.parts()
    dataset, study = parts.dataset, build(settings, job, parts)
    study.check(dataset)
    if job.dry_run:
        pairs = study.most_pairs(dataset)
        docs = settings.doc_words or max(word_count(doc.render()) for doc in dataset.docs_iter())
        words = docs + max(word_count(query.text) for query in dataset.queries)
        stdout.print(judging(study.judge, pairs, words).line(job.config["llm"]), **PLAIN)
        return
    found = study.measure(dataset)
    name = model_name(job.config)
    shown = agreement_tables(found, dataset, name, study.bootstrap.level)
    rows = [BEIR_QRELS_HEADER, *((q.query_id, q.doc_id, str(q.relevance)) for q in found.qrels)]
    mark = {KEY: VERSION, "mark": f"synthetic judgements ({name})", "model": name}
    write_json(job.folder / SYNTHETIC_FILE, mark)
    write_text(job.folder / "qrels.tsv", "".join("\t".join(row) + "\n" for row in rows))
    write_text(job.folder / "agreement.md", "\n\n".join(map(to_markdown, shown)))
    about = {
        "dataset": dataset.dataset_id,
        "digest": dataset.digest,
        "model": name,
        "judge": dict(study.judge.about),
        "retrievers": {name: r.fingerprint for name, r in study.retrievers.items()},
        "ci_level": study.bootstrap.level,
        "work": dict(study.judge.llm.work),
    }
    write_json(job.folder / "agreement.json", {"schema": 1, **about, **as_json(found)})
    show(shown)
    stdout.print(f"Results: {job.folder}", **PLAIN)


def build(settings: Settings, job: Job, parts: Parts) -> AgreementStudy:
    """The parts that the config names, each checked."""
    config = job.config
    judge = Judge(
        job.component("llm"),
        settings.judge_prompt,
        settings.language,
        settings.mode,
        settings.grade_tokens,
        settings.doc_words,
    )
    chosen = {"measures": config["measures"], "gains": config["gains"]}
    return AgreementStudy(
        judge,
        systems(parts),
        checked(MeasureSettings, chosen, ""),
        checked(BootstrapSettings, config["bootstrap"], "bootstrap"),
        settings.num_queries,
        settings.depth,
        settings.count_unjudged,
        settings.seed,
        config["doc_template"],
        config["sweep"]["k"],
        config["sweep"]["n"],
    )


def agreement_tables(
    found: Agreement, dataset: Dataset, model: str, level: float = 0.95
) -> list[Table]:
    """κ, the confusion matrix, and systems under both kinds of judgements with τ below."""
    counts = found.counts
    where = (
        f"{dataset.dataset_id}: people's judgements against those of {model} (synthetic), "
        f"{counted(counts['queries'], 'query', 'queries')}"
    )
    kappas = Table(
        f"{where}, {counts['pairs_compared']:,} pairs. In brackets: {percent(level)} bootstrap "
        "intervals over queries.",
        (Column("Cohen's κ", "left"), Column("Value")),
        (
            tuple(
                (Cell(name), Cell(number(e.value), None if math.isnan(e.low) else (e.low, e.high)))
                for name, e in found.kappas.items()
            ),
        ),
        (
            f"{counts['malformed']:,} of {counts['pairs']:,} answers name no grade and are left "
            "out.",
            *found.notes,
        ),
    )
    levels = range(len(found.confusion))
    grades = Table(
        f"{where}: pairs by grade.",
        (Column("People", "left"), *(Column(f"model {grade}") for grade in levels)),
        (
            tuple(
                (Cell(str(grade)), *(Cell(f"{count:,}") for count in row))
                for grade, row in zip(levels, found.confusion.tolist(), strict=True)
            ),
        ),
    )
    return [kappas, grades, *([_systems(found, where)] if found.means else [])]


def _systems(found: Agreement, where: str) -> Table:
    columns = [Column("System", "left")]
    for name in found.taus:
        columns += [Column(f"{display_name(name)}, people"), Column(f"{display_name(name)}, model")]
    rows = [
        (Cell(system), *(Cell(number(value)) for pair in means.values() for value in pair))
        for system, means in found.means.items()
    ]
    notes = tuple(
        f"{display_name(name)}: Kendall's τ {_shown(tau)}, τ_AP {_shown(ap)}."
        for name, (tau, ap) in found.taus.items()
    )
    return Table(f"{where}: systems under either.", tuple(columns), (tuple(rows),), notes)


def _shown(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3f}"
