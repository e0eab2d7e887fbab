"""Text for LaTeX: signs that mean something there, minus signs, scripts other than Latin."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    # After a line break LaTeX would take them for the break's own arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "α": r"$\alpha$",
    "σ": r"$\sigma$",
    "ρ": r"$\rho$",
    "Δ": r"$\Delta$",
    "−": r"$-$",
    "–": "--",
    "\N{NO-BREAK SPACE}": "~",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "‖": r"$\|$",
    "\N{ASTERISK OPERATOR}": r"$*$",
    "\N{REPLACEMENT CHARACTER}": "?",
}
# Where Unicode's East Asian scripts begin and end; below Latin Extended-B pdfLaTeX knows letters.
_BEYOND_LATIN, _EAST_ASIAN, _EMOJI = 0x180, 0x2E80, 0x1F000
_KEPT = frozenset("\N{LEFT SINGLE QUOTATION MARK}’“”…•€™—")
_NUMBER = re.compile(r"[+-]?\d|\[[+-]?\d")
_MINUS = re.compile(r"(?<![\w–-])-(?=\d)")
_CHINESE = r"\evalkitcjk"
_CHINESE_DEFINED = (
    r"% Chinese, Japanese: pdfLaTeX needs \usepackage{CJKutf8}, the others a font of it (ctex).",
    r"\DeclareRobustCommand{\evalkitcjk}[1]{\ifdefined\XeTeXversion#1\else"
    r"\ifdefined\directlua#1\else\begin{CJK*}{UTF8}{gbsn}#1\end{CJK*}\fi\fi}",
)


def escaped(text: str) -> str:
    """Plain text for LaTeX; runs of East Asian characters in a macro that sets them."""
    parts = []
    for asian, chars in groupby(unicodedata.normalize("NFC", text), _is_asian):
        part = "".join(_SIGNS.get(char, char) for char in chars)
        parts.append(f"{_CHINESE}{{{part}}}" if asian else part)
    return "".join(parts)


def _is_asian(char: str) -> bool:
    return _EAST_ASIAN <= ord(char) < _EMOJI and char not in _SIGNS


def with_minus(text: str) -> str:
    """Numbers have a minus sign in place of the hyphen; other texts are as they are."""
    return escaped(_MINUS.sub("−", text) if _NUMBER.match(text) else text)


def needs_of(text: str) -> list[str]:
    """Comments and definitions that LaTeX needs before `text`, which is escaped."""
    lines = list(_CHINESE_DEFINED) if _CHINESE in text else []
    others = sorted({char for char in text if _is_foreign(char)})
    if others:
        codes = ", ".join(f"U+{ord(char):04X}" for char in others[:5])
        more = " and more" if len(others) > 5 else ""
        lines.append(f"% pdfLaTeX may not know {codes}{more}: compile with XeLaTeX or LuaLaTeX")
    return lines


def _is_foreign(char: str) -> bool:
    between = _BEYOND_LATIN <= ord(char) < _EAST_ASIAN and char not in _KEPT
    return between or ord(char) >= _EMOJI
