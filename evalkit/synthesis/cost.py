"""What a synthesis asks of a language model at most, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.llm.prompts import word_count
from evalkit.synthesis.judge import Judge
from evalkit.synthesis.making import Synthesis
from evalkit.synthesis.source import Sample
from evalkit.types import Message

# Tokens a word, roughly: English text of current tokenizers has 1.3, a Chinese character counts as
# a word and takes 0.6 to 1.5.
_TOKENS_A_WORD = 4 / 3
_MILLION = 1_000_000


class Cost(NamedTuple):
    """requests and output_tokens are bounds; input_tokens is an estimate."""

    what: str
    requests: int
    input_tokens: int
    output_tokens: int

    def line(self, llm: Mapping[str, Any]) -> str:
        """For the terminal; llm: the model's settings, which may have prices."""
        dollars = self.input_tokens * (llm.get("input_price") or 0.0)
        dollars += self.output_tokens * (llm.get("output_price") or 0.0)
        price = f", about {dollars / _MILLION:.2f} USD at most" if dollars else ""
        return (
            f"{self.what}: at most {self.requests:,} requests, about {self.input_tokens:,} input "
            f"tokens, at most {self.output_tokens:,} output tokens{price}"
        )


def tokens_of(messages: Sequence[Message]) -> int:
    """About how many tokens a prompt has."""
    return round(_TOKENS_A_WORD * sum(word_count(message["content"]) for message in messages))


def costs(synthesis: Synthesis, sample: Sample) -> list[Cost]:
    """Of writing the queries, and of judging all that could be in the pool were none dropped."""
    asked = synthesis.writer.messages(sample.docs)
    writing = Cost(
        "queries",
        len(asked),
        sum(map(tokens_of, asked)),
        len(asked) * synthesis.writer.max_tokens,
    )
    pooled = min(len(synthesis.retrievers) * synthesis.depth + 1, sample.num_docs)
    longest = sample.longest + synthesis.longest_query
    return [writing, judging(synthesis.judge, len(asked) * pooled, longest)]


def judging(judge: Judge, pairs: int, words: int) -> Cost:
    """Of grading so many pairs, a query and a doc of `words` words together at most."""
    most = max(tokens_of(judge.messages((text, ""))) for text in ("a", "检"))
    each = most + round(_TOKENS_A_WORD * words)
    return Cost("judgements", pairs, pairs * each, pairs * judge.max_tokens)
