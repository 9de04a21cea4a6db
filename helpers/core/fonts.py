"""Finds a font that has Chinese characters, so that figures show captions and not empty boxes.

    text  --font_for-->  the families to draw it with, and a note when there is none that can

matplotlib's own fonts have no Chinese. Most systems do: Windows, macOS, and Linux with the Noto or WenQuanYi packages.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

PREFERRED = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei",
             "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Arial Unicode MS", "Droid Sans Fallback")
PROBE = "一只红色的狗"
NO_FONT = ("No font with Chinese characters was found, so Chinese is drawn as its number of characters; "
           "install one, e.g. `apt install fonts-noto-cjk`.")


def is_chinese(text: str) -> bool:
    """Whether the text holds a Chinese character."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


@cache
def chinese_family() -> str | None:
    """The name of a font family that has the characters of PROBE, or None. Fonts of a collection count as well."""
    from matplotlib import font_manager

    fonts = font_manager.fontManager
    if (found := _chinese_among(fonts.ttflist)) is None:
        # matplotlib keeps its list of fonts from one run to the next; a font that was installed since is not in it
        for path in sorted({*font_manager.findSystemFonts()} - {entry.fname for entry in fonts.ttflist}):
            if _has_glyphs(Path(path)):
                fonts.addfont(path)
        found = _chinese_among(fonts.ttflist)
    return found


def _chinese_among(fonts: list) -> str | None:
    """The first family of matplotlib's entries that has the characters of PROBE."""
    known = {entry.name: entry.fname for entry in fonts}
    for name in (*PREFERRED, *(name for name in known if "CJK" in name or "Han" in name)):
        if name in known and _has_glyphs(Path(known[name])):
            return name
    return None


def families() -> list[str]:
    """The families of a figure: matplotlib's own, then one with Chinese where there is one."""
    return ["DejaVu Sans", *([chinese_family()] if chinese_family() else [])]


def drawable(text: str) -> str:
    """The text itself, or what stands for it where no font here can draw it."""
    return text if chinese_family() or not is_chinese(text) else f"[{len(text)} Chinese characters]"


def _has_glyphs(path: Path) -> bool:
    """Whether the font file has every character of PROBE."""
    from matplotlib.ft2font import FT2Font

    try:
        characters = FT2Font(str(path)).get_charmap()
    except (OSError, RuntimeError):  # a font file that was removed since matplotlib listed it, or one it cannot read
        return False
    return all(ord(character) in characters for character in PROBE)
