"""Fonts of plots: matplotlib's own, and one for Chinese, Japanese and Korean if installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
)


_TELLING = 11  # characters of a name that its file shares: "notosanscjk"


def fonts() -> list[str]:
    """Families, a character's first one that has it."""
    return ["DejaVu Sans", *_cjk_font(_CJK_FONTS)]


@cache
def _cjk_font(names: tuple[str, ...]) -> list[str]:
    """The first of these fonts that is installed, none where none is.

    matplotlib's own list was made when it was first imported, perhaps by another program long ago:
    fonts that came later are looked for.
    """
    from matplotlib import font_manager

    def known() -> list[str]:
        installed = {font.name for font in font_manager.fontManager.ttflist}
        return [name for name in names if name in installed][:1]

    if names and not known():
        for path in map(str, font_manager.findSystemFonts()):
            if _stem(Path(path).stem).startswith(tuple(_stem(name)[:_TELLING] for name in names)):
                font_manager.fontManager.addfont(path)
    return known()


def _stem(name: str) -> str:
    """A font's name as files are named after it: NotoSansCJK-Regular.ttc, wqy-zenhei.ttc."""
    return name.replace(" ", "").replace("-", "").lower()
