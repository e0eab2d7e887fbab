"""What a person sees: tables, plots and the HTML page. Objects are returned, nothing is written.

Plots are in `evalkit.report.plots`.
"""

from evalkit.report.html import report_html
from evalkit.report.names import display_name
from evalkit.report.render import to_html, to_latex, to_markdown, to_rich
from evalkit.report.table import cutoff_table, grid_table

__all__ = [
    "cutoff_table",
    "display_name",
    "grid_table",
    "report_html",
    "to_html",
    "to_latex",
    "to_markdown",
    "to_rich",
]
