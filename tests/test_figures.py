"""Tests of helpers/core/figures.py and of the gallery in helpers/core/report.py."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from helpers.core import figures, fonts
from helpers.core.errors import InputError
from helpers.core.figures import PALETTE, colour_of, gallery, label_of, loss_curves, metric_chart, to_svg, tradeoff_chart
from helpers.core.report import Shown, gallery_html

RESULT = {"systems": {
    "pretrained": {"n": 8, "Bleu_1": 0.2, "CIDEr": 0.5, "intervals": {"Bleu_1": [0.15, 0.25]}},
    "lora": {"n": 8, "Bleu_1": 0.6, "CIDEr": 3.0, "intervals": {"Bleu_1": [0.55, 0.66], "CIDEr": [2.5, 3.2]}},
    "mine": {"n": 8, "CIDEr": 1.0, "intervals": {}},
}}


def picture(colour):
    """A small picture of one colour."""
    return Image.new("RGB", (32, 32), colour)


def test_loss_curves_draw_one_strong_line_a_run():
    long = [(step, 3 * 0.97**step) for step in range(1, 101)]
    figure = loss_curves({"lora": [(1, 2.0), (2, 1.5)], "full": long})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["LoRA (last 1.5)", f"full (last {np.mean([loss for _, loss in long[-5:]]):.3g})"]
    assert len(axes.lines) == 3  # the long run shows its raw losses too
    assert axes.get_yscale() == "log"
    assert loss_curves({"a": [(1, 2.0), (2, 1.5)]}).axes[0].get_yscale() == "linear"
    with pytest.raises(InputError, match="Run empty logged no loss"):
        loss_curves({"empty": []})


def test_metric_chart_has_a_panel_a_metric_and_whiskers_where_known():
    figure = metric_chart(RESULT)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["BLEU-1", "CIDEr"]
    bleu, cider = figure.axes
    assert [bar.get_height() for bar in bleu.patches] == [0.2, 0.6]
    assert [bar.get_height() for bar in cider.patches] == [0.5, 3.0, 1.0]
    whiskers = [segment for lines in cider.collections for segment in lines.get_segments()]
    assert np.allclose(whiskers, [[(1, 2.5), (1, 3.2)]])
    assert [axes.get_title(loc="left") for axes in metric_chart(RESULT, ["CIDEr", "SPICE"]).axes] == ["CIDEr"]
    with pytest.raises(InputError, match="no metric chart"):
        metric_chart(RESULT, ["SPICE"])


def test_tradeoff_chart_draws_a_dot_with_its_intervals_and_a_name_for_each():
    close = {f"prompt {i}": ((0.01 * i, 0.0, 0.02 * i), (0.99, 0.97, 1.0)) for i in range(14)}
    figure = tradeoff_chart(close, "made up", "named")
    (axes,) = figure.axes
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == len(axes.containers) == 14
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1:])
    bars = [segment for container in axes.containers for line in container[2] for segment in line.get_segments()]
    assert any(np.allclose(bar, [(0.0, 0.99), (0.26, 0.99)]) for bar in bars) and any(np.allclose(bar[:, 1], (0.97, 1.0)) for bar in bars)
    with pytest.raises(InputError, match="nothing to draw"):
        tradeoff_chart({}, "x", "y")


def test_systems_keep_their_colours_and_every_metric_has_a_name():
    assert colour_of("full", 0) == colour_of("full", 5)
    assert colour_of("mine", 1) == PALETTE[1]
    assert (label_of("Bleu_4"), label_of("lora"), label_of("CIDEr")) == ("BLEU-4", "LoRA", "CIDEr")


def test_gallery_shows_every_picture_and_writes_chinese_or_says_why_not(monkeypatch, recwarn):
    figure = gallery([picture("red"), picture("blue"), np.zeros((8, 8, 3))], ["a red square, " * 6, "a blue square", "a black one"], columns=2)
    assert len(figure.axes) == 3
    assert figure.axes[0].get_xlabel().count("\n") >= 2
    with pytest.raises(InputError, match="one caption a picture"):
        gallery([picture("red")], [])
    chinese = gallery([picture("red")], ["一个红色的方块，" * 5])
    chinese.canvas.draw()
    assert not [warning for warning in recwarn if "missing from font" in str(warning.message)]
    monkeypatch.setattr(fonts, "chinese_family", lambda: None)
    monkeypatch.setattr(figures, "chinese_family", lambda: None)
    without = gallery([picture("red")], ["一个红色的方块"])
    assert without.axes[0].get_xlabel() == "[7 Chinese characters]" and "fonts-noto-cjk" in without.get_supxlabel()


def test_a_font_that_was_installed_after_matplotlib_listed_them_is_found(tmp_path, monkeypatch):
    from fontTools.fontBuilder import FontBuilder
    from fontTools.ttLib.tables._g_l_y_f import Glyph
    from matplotlib import font_manager

    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder([".notdef", "han"])
    made.setupCharacterMap({ord(character): "han" for character in fonts.PROBE})
    made.setupGlyf({".notdef": Glyph(), "han": Glyph()})
    made.setupHorizontalMetrics({".notdef": (500, 0), "han": (500, 0)})
    made.setupHorizontalHeader()
    made.setupNameTable({"familyName": "New CJK", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    made.save(tmp_path / "new.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"])
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    fonts.chinese_family.cache_clear()
    assert fonts.chinese_family() is None
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "new.ttf")])
    fonts.chinese_family.cache_clear()
    assert fonts.chinese_family() == "New CJK"
    fonts.chinese_family.cache_clear()


def test_svg_is_the_same_each_time_and_takes_the_colours_of_its_page():
    svg = to_svg(metric_chart(RESULT))
    assert svg == to_svg(metric_chart(RESULT))
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and "viewBox" in root.attrib and not {"width", "height"} & set(root.attrib)
    assert "currentColor" in svg and "#1f2328" not in svg


def test_gallery_html_escapes_words_and_shows_marks():
    shown = [Shown("0001", picture("green"), "一只狗 <b>", {"lora": "a <script>", "mute": ""}, {"lora": {"named": ["dog"], "missed": ["cat"], "hallucinated": ["kite"]}})]
    html = gallery_html(shown, "zh")
    assert "一只狗 &lt;b&gt;" in html and "a &lt;script&gt;" in html and "<script>" not in html
    assert "✓ dog" in html and "− cat" in html and "✗ kite" in html and "said nothing" in html
    assert 'src="data:image/jpeg;base64,' in html and "http://" not in html and "https://" not in html
