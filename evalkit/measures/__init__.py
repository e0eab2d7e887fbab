"""ir_measures' measures, on canonical rankings, with bootstrap intervals."""

from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.measures.ceiling import ceilings
from evalkit.measures.evaluate import MeasureSet
from evalkit.measures.names import parse_measures

__all__ = ["MeasureSet", "bootstrap_intervals", "ceilings", "parse_measures"]
