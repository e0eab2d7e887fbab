"""CUDA graphs: all kernels of a small batch started by one call.

A small model computes a batch of few tokens in less time than its hundreds of kernels take to be
started one by one. A graph starts them all at once, but only ever does what was recorded, in the
memory that it was recorded in. So a batch is brought to one of few shapes: further sequences of
padding tokens fill it up, and their logits are not read. Large batches keep the device busy by
themselves and are left alone.

PyTorch documentation, "CUDA Graphs"; Kwon et al. (vLLM, SOSP 2023) fill batches up likewise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.scoring.encoder import PackedClassifier, Sequences
from evalkit.scoring.templates import Packed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Above so many tokens even a small model computes longer than kernels take to be started.
MOST_TOKENS = 16_384
# A shape is recorded when it comes this often: recording takes as long as some ten batches.
RECORDED_AT = 3
MOST_GRAPHS = 64  # each holds device memory
_LEAST_LONGEST, _LEAST_STEP = 32, 128
_WARM_UP = 3  # runs before a recording, as PyTorch asks for

# Runs the function once and gives what repeats it, and the tensor that it writes to each time.
Recorder = Callable[[Callable[[], "Tensor"]], tuple[Callable[[], None], "Tensor"]]


class Shape(NamedTuple):
    """What a graph is recorded for: tokens and sequences in all, and the longest sequence."""

    tokens: int
    sequences: int
    longest: int


def shape_of(tokens: int, sequences: int, longest: int) -> Shape:
    """The shape that a batch is filled up to: at least one more sequence, each of 1 to `longest`
    tokens. Sequences and the longest are powers of two; tokens are in steps of an eighth."""
    most = max(_power_of_two(longest), _LEAST_LONGEST)
    step = max(_power_of_two(tokens) // 16, _LEAST_STEP)
    room = _power_of_two(sequences + 1)
    while True:
        added = room - sequences
        whole = -(-(tokens + added) // step) * step
        if whole - tokens <= added * most:
            return Shape(whole, room, most)
        room *= 2


def filled(batch: Packed, shape: Shape, pad: int) -> Packed:
    """The batch, and behind it sequences of the padding token, of nearly equal lengths."""
    added, missing = shape.sequences - len(batch.lengths), shape.tokens - len(batch.ids)
    ends = len(batch.ids) + missing * np.arange(1, added + 1) // added
    return Packed(
        np.concatenate([batch.ids, np.full(missing, pad, dtype=np.int64)]),
        np.concatenate([batch.types, np.zeros(missing, dtype=np.int64)]),
        np.concatenate([batch.offsets, ends]),
    )


class Recorded(NamedTuple):
    """A graph's inputs, what repeats it, and its logits, which each repetition overwrites."""

    ids: Tensor
    types: Tensor | None
    places: Tensor
    starts: Tensor
    repeat: Callable[[], None]
    logits: Tensor


class Graphs:
    """The logits of a `PackedClassifier` by graphs, one a shape.

    record: makes a graph; None for CUDA's. Batches of one process and one stream, in order: a graph
    reads the inputs of the batch that was copied last.
    """

    def __init__(self, classifier: PackedClassifier, record: Recorder | None = None) -> None:
        self._classifier = classifier
        self._record = record or CudaRecorder(classifier.device)
        self._met: Counter[Shape] = Counter()
        self._graphs: dict[Shape, Recorded] = {}

    def shape_for(self, batch: Packed) -> Shape | None:
        """What to fill a batch up to; None for one that is better computed as it is: a large one,
        or of a shape that has hardly been met before."""
        if len(batch.ids) > MOST_TOKENS:
            return None
        shape = shape_of(len(batch.ids), len(batch.lengths), int(batch.lengths.max()))
        if shape in self._graphs:
            return shape
        self._met[shape] += 1
        often = self._met[shape] >= RECORDED_AT and len(self._graphs) < MOST_GRAPHS
        return shape if often else None

    def logits(self, ids: Tensor, types: Tensor | None, offsets: Tensor, shape: Shape) -> Tensor:
        """As `PackedClassifier.logits`, of a batch that is filled up to this shape."""
        starts = offsets.int().to(ids.device, non_blocking=True)
        places = self._classifier.places(ids, starts)
        if shape not in self._graphs:
            self._graphs[shape] = self._recorded(ids, types, places, starts, shape)
        graph = self._graphs[shape]
        graph.ids.copy_(ids)
        graph.places.copy_(places)
        graph.starts.copy_(starts)
        if graph.types is not None and types is not None:
            graph.types.copy_(types)
        graph.repeat()
        return graph.logits.clone()

    def _recorded(
        self, ids: Tensor, types: Tensor | None, places: Tensor, starts: Tensor, shape: Shape
    ) -> Recorded:
        ids, places, starts = ids.clone(), places.clone(), starts.clone()
        types = None if types is None else types.clone()
        sequences = Sequences(starts, shape.longest)
        repeat, logits = self._record(
            lambda: self._classifier.forward(ids, types, places, sequences)
        )
        return Recorded(ids, types, places, starts, repeat, logits)


class CudaRecorder:
    """Records CUDA graphs that share one pool of memory: no two of them are at work at once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        import torch

        current, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                run()
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=self._pool):
            logits = run()
        self._pool = self._pool or graph.pool()
        return graph.replay, logits


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 0).bit_length()
