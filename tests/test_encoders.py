"""All three kinds of encoders multiply by whichever library is faster, and encode the same."""

import numpy as np
import pytest
from tiny import save_bi_encoder, save_colbert, save_splade

from evalkit.encoders import TextEncoder
from evalkit.scoring import products
from evalkit.sparse_encoders import SparseTextEncoder
from evalkit.token_encoders import TokenEncoder

TEXTS = ["search index merge", "重排 缓存 latency", "", "vector recall precision", "😀"]


def vectors(encoder, side) -> np.ndarray:
    places = encoder.places(TEXTS, side)
    if isinstance(encoder, SparseTextEncoder):
        return encoder.matrix(places, side).toarray()
    found = encoder.cache(side).gather(places)
    return found if isinstance(encoder, TextEncoder) else found.columns[0]


@pytest.mark.parametrize(
    ("save", "kind"),
    [
        (save_bi_encoder, TextEncoder),
        (save_splade, SparseTextEncoder),
        (save_colbert, TokenEncoder),
    ],
)
def test_encoders_multiply_by_the_faster_library(monkeypatch, tmp_path, save, kind):
    model = str(save(tmp_path / "model"))
    packed = []

    def counted(weight, bias):
        packed.append(weight)
        return made(weight, bias)

    made = products.packed_product
    monkeypatch.setattr(products, "packed_product", counted)
    found = {}
    for preferred in (False, True):
        monkeypatch.setattr(products, "prefers_onednn", lambda _, yes=preferred: yes)
        encoder = kind(model, device="cpu", cache_dir=tmp_path / str(preferred))
        found[preferred] = [vectors(encoder, side) for side in ("query", "doc")]
        assert bool(packed) is preferred
    for one, two in zip(found[False], found[True], strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5)
