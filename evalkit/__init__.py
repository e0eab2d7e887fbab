"""evalkit: which retriever × reranker × candidate size K × cutoff N should I ship?

Importing this package loads neither torch, transformers, mlflow nor hydra.
"""

from evalkit.run import Run
from evalkit.types import Doc, Qrel, Query

__version__ = "0.1.0"
__all__ = ["Doc", "Qrel", "Query", "Run", "__version__"]
