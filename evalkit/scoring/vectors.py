"""Doc vectors as they are stored: float32, float16, or bfloat16 as uint16, which numpy lacks.

Half precision halves what a corpus takes on disk, on its way to a GPU and there. A stored vector is
widened to float32 before it is used, so that the rounding happens once, when it is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import ConfigError

if TYPE_CHECKING:
    import torch

# The numpy type of each storage; bfloat16 is the upper half of a float32's bits.
STORAGES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


def checked_storage(storage: str) -> str:
    """The storage, if it is one of STORAGES; ConfigError."""
    if storage not in STORAGES:
        raise ConfigError(f"storage={storage}: expected one of {', '.join(STORAGES)}")
    return storage


def narrowed(vectors: np.ndarray, storage: str) -> np.ndarray:
    """Float32 vectors as stored, each value rounded to the nearest; ConfigError for an overflow."""
    import torch

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if storage == "float32":
        return vectors
    wide = torch.from_numpy(vectors)
    narrow = wide.to(torch.float16 if storage == "float16" else torch.bfloat16)
    if not bool(torch.isfinite(narrow).all()):
        largest = float(np.abs(vectors).max())
        remedy = "float32" if storage == "bfloat16" else "bfloat16 or float32"
        bound = LARGEST_FLOAT16 if storage == "float16" else torch.finfo(torch.bfloat16).max
        raise ConfigError(
            f"storage={storage} holds values up to {bound:.6g} and the model's vectors reach "
            f"{largest:.6g}; use storage={remedy}"
        )
    return narrow.view(torch.int16).numpy().view(STORAGES[storage])


def widened(stored: np.ndarray) -> np.ndarray:
    """Stored vectors as float32, same shape; those stored so are not copied."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


def as_tensor(stored: np.ndarray) -> torch.Tensor:
    """Stored vectors as a tensor of float32, float16 or bfloat16 over the same memory."""
    import torch

    if stored.dtype == np.uint16:
        return torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(stored)
