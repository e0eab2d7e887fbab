"""Training data that a tiny model learns in seconds: relevant docs hold a word of their own."""

from __future__ import annotations

import numpy as np
from tiny import WORDS

from evalkit.training.data import TrainingData

ANSWER, *OTHERS = WORDS[:20]


def learnable_data(queries: int = 32, docs: int = 4, validation: int = 0) -> TrainingData:
    """`queries` to learn from and `validation` more; one of each query's docs is relevant."""
    random = np.random.default_rng(0)
    rows = []
    for q in range(queries + validation):
        query = " ".join(random.choice(OTHERS, size=2))
        for d in range(docs):
            words = [*random.choice(OTHERS, size=random.integers(2, 10)), *([] if d else [ANSWER])]
            rows.append(
                {
                    "query_id": f"q{q}", "query": query, "doc_id": f"q{q}-{d}",
                    "doc": " ".join(random.permutation(words)), "label": float(d == 0),
                    "role": "negative" if d else "positive", "source": "bm25" if d else "qrels",
                    "rank": d, "split": "train" if q < queries else "validation",
                }
            )  # fmt: skip
    return TrainingData.from_columns({key: [row[key] for row in rows] for key in rows[0]}, {})
