"""The README.md beside a trained model: what it is, what it was trained on, how well it does.

The head is YAML, as model hubs read it; the rest is for people. All of it comes from the record
that training.json holds, so that the two cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from evalkit.training.record import before_and_after, few_queries, untrained


def model_card(record: Mapping[str, Any], command: str) -> str:
    """Markdown of a training's record; see `tasks.train`. command: what was typed."""
    kind = "LoRA adapter" if record["model"]["kind"] == "adapter" else "cross-encoder"
    parts = [
        _head(record),
        f"# {record['name']}: a {kind} over {record['base']['name']}",
        f"A cross-encoder with one logit, trained by evalkit {record['manifest']['evalkit']}"
        f"{_from(record)}. {_how(record)}",
        "## Data",
        _data(record),
        "## Figures",
        _figures(record),
        "## Use",
        _use(record),
        "## Command",
        f"```bash\n{command}\n```",
        "## Limits",
        _limits(record),
    ]
    return "\n\n".join(parts) + "\n"


def _docs_a_query(record: Mapping[str, Any]) -> float:
    """The mean: fewer than `docs_per_query` where fewer were mined."""
    return float(round(record["fit"]["pairs"] / max(record["fit"]["examples"], 1), 1))


def _from(record: Mapping[str, Any]) -> str:
    start = record["base"]["started_from"]
    return "" if start == record["base"]["name"] else f", going on from {start}"


def _head(record: Mapping[str, Any]) -> str:
    adapter = record["model"]["kind"] == "adapter"
    fields = {
        "license": record["licence"] or "unknown",
        "base_model": record["base"]["name"],
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-ranking",
        "tags": ["cross-encoder", "reranker", "evalkit"],
    }
    # JSON values are YAML, too, whatever characters a name holds.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _how(record: Mapping[str, Any]) -> str:
    fit = record["settings"]
    teacher = f" Teacher: {record['teacher']['name']}{_share(fit)}." if record["teacher"] else ""
    weights = f"{record['fit']['trained_weights']:,} weights were trained"
    layers = f", the base's first {fit['num_layers']} layers are left" if fit["num_layers"] else ""
    lora = fit["lora"]
    adapter = f" (LoRA, rank {lora['rank']}, alpha {lora['alpha']})" if lora else ""
    return (
        f"Objective: {fit['objective']}, {_docs_a_query(record):g} docs a query, "
        f"{record['fit']['steps']:,} steps of {record['fit']['queries_per_step']} queries, at most "
        f"{fit['max_length']} tokens a pair ({fit['truncation']}), learning rate "
        f"{fit['learning_rate']:g}, {fit['dtype']}, seed {fit['seed']}. {weights}{adapter}{layers}."
        f"{teacher}"
    )


def _share(fit: Mapping[str, Any]) -> str:
    """What of the targets a teacher decides, where judgements decide the rest."""
    if not (share := fit["teacher_share"]):
        return ""
    return (
        f", whose scores' softmax (temperature {fit['temperature']:g}) is {share:g} of the "
        "targets; judgements are the rest"
    )


def _data(record: Mapping[str, Any]) -> str:
    data = record["data"]
    queries = data["queries"]
    sentences = queries["sentences"]
    of_which = f" ({sentences:,} of them sentences of its docs)" if sentences else ""
    found = [
        f"* {record['dataset']['dataset_id']} (digest {record['dataset']['digest']}): "
        f"{queries['train']:,} queries to learn from{of_which}, {queries['validation']:,} "
        f"for validation, {data['rows']:,} pairs; digest of the data {data['digest']}.",
        "* Docs that are not relevant come from: "
        + ", ".join(f"{name} ({count:,})" for name, count in data["sources"].items())
        + ".",
    ]
    for leak in record["leaks"]:
        found.append(
            f"* Checked against {leak['evaluation']}: {leak['exact_queries']:,} of its "
            f"{leak['evaluation_queries']:,} queries {_fate(leak)}; {leak['near_queries']:,} more "
            "are nearly in it."
        )
    if not record["leaks"]:
        found.append("* Checked against no evaluation data.")
    for earlier in record["earlier_trainings"]:
        seen = [f"{earlier['validation_queries']:,} of the validation queries"]
        known = earlier["evaluated_queries"].items()
        seen += [f"{count:,} of the queries of {name}" for name, count in known]
        found.append(
            f"* It goes on from a model that learned from data of digest {earlier['data_digest']}, "
            f"which holds, word for word, {' and '.join(seen)}."
        )
    return "\n".join(found)


def _fate(leak: Mapping[str, Any]) -> str:
    """What became of the evaluated queries that were found word for word."""
    if leak["exact_queries"] and leak["test_queries"] == "drop":
        return "were among those prepared and are left out of the training data"
    return "are in the training data word for word"


def _figures(record: Mapping[str, Any]) -> str:
    found = before_and_after(record)
    if not found:
        return "None: the data had no queries for validation."
    lines = ["| validation queries, mined docs only | first | kept |", "|---|---|---|"]
    lines += [f"| {name} | {first:.4f} | {kept:.4f} |" for name, first, kept in found]
    count, measure = record["data"]["queries"]["validation"], record["settings"]["measure"]
    doubts = filter(None, [untrained(record), few_queries(count, measure)])
    told = "".join(f"\n\n**Warning**: {doubt}." for doubt in doubts)
    return "\n".join(lines) + (
        f"\n\nFirst: before training; kept: step {record['fit']['best']['step']}. These lists hold "
        "the mined docs alone: measure the model over a retriever, on test queries, before relying "
        f"on it.{told}"
    )


def _use(record: Mapping[str, Any]) -> str:
    length = record["settings"]["max_length"]
    return (
        "```bash\npython -m evalkit 'reranker=[none,cross_encoder]' "
        f"reranker.cross_encoder.model=FOLDER reranker.cross_encoder.max_length={length}\n```"
    )


def _limits(record: Mapping[str, Any]) -> str:
    return (
        "It knows the language and the kind of query and document that it was trained on, those of "
        f"{record['dataset']['dataset_id']}; on others it may rank worse than a retriever alone. "
        f"What stands behind {record['settings']['max_length']} tokens of a pair is not read. "
        "Scores are logits: only their order within a query means something."
    )
