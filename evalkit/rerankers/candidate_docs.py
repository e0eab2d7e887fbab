"""The docs among candidates, as places in an encoder's cache: what their storage is told of."""

from __future__ import annotations

import numpy as np

from evalkit.encoders import Encoder
from evalkit.run import Run
from evalkit.types import Dataset

_DOCS = 4096


def doc_places(encoder: Encoder, dataset: Dataset, candidates: Run, template: str) -> np.ndarray:
    """Places in `encoder.cache("doc")` of the distinct doc texts among the candidates: int64.

    A text that is not there is encoded; some thousand texts are in memory at a time.
    """
    ids = candidates.vocabulary[np.unique(candidates.docs)].tolist()
    places = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(ids), _DOCS):
        docs = dataset.lookup(ids[start : start + _DOCS]).values()
        places.append(encoder.places([doc.render(template) for doc in docs], "doc"))
    return np.unique(np.concatenate(places))
