"""The machine while times are taken: garbage collector, devices, threads and load."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from evalkit.measured import Clock

# What sets the threads of BLAS, OpenMP, numexpr and tokenizers.
_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM",
)  # fmt: skip


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Python's garbage collector off; what lives already is never looked at. Put back after."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def synchronised(clock: Clock) -> Clock:
    """The clock, read when every device of this process has done what it was given."""
    wait = _waiting()
    if wait is None:
        return clock

    def read() -> int:
        wait()
        return clock()

    return read


def _waiting() -> Callable[[], None] | None:
    torch = sys.modules.get("torch")  # not loaded: nothing was given to a device
    if torch is None:
        return None
    if torch.cuda.is_available():
        synchronise = torch.cuda.synchronize

        def every() -> None:
            for device in range(torch.cuda.device_count()):
                synchronise(device)

        return every
    if torch.backends.mps.is_available():
        return torch.mps.synchronize
    return None


def threads() -> dict[str, Any]:
    """What limits the threads of this process: cores it may use, and each library's own number."""
    torch = sys.modules.get("torch")
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "environment": {key: value for key in _VARIABLES if (value := os.environ.get(key))},
        "libraries": _pools(),
    }
    if torch is not None:
        found["torch"] = torch.get_num_threads()
        found["torch_interop"] = torch.get_num_interop_threads()
    return found


def load_average() -> list[float] | None:
    """The machine's load average over 1, 5 and 15 minutes; None where it tells none."""
    try:
        return [round(each, 2) for each in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def _pools() -> list[dict[str, Any]]:
    """The thread pools of BLAS and OpenMP that are loaded, such as OpenBLAS with 2 threads."""
    from threadpoolctl import threadpool_info  # a dependency of scikit-learn

    return [
        {key: pool.get(key) for key in ("user_api", "internal_api", "num_threads")}
        for pool in threadpool_info()
    ]
