"""Tests of helpers/core/metric_figures.py, fonts.py, metric_names.py, metric_tables.py and perturbations.py, and of how the report reads a metric."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from helpers.core import fonts
from helpers.core import metric_figures as figures
from helpers.core.errors import InputError
from helpers.core.figures import label_of
from helpers.core.grading import TRUTH_METRICS
from helpers.core.metric_names import READINGS, Reading, read_as
from helpers.core.metric_tables import as_text, explanation, really_better, score_rows
from helpers.core.pairing import Pairs
from helpers.core.perturbations import PERTURBATIONS
from helpers.core.report import Report, write_report
from helpers.metrics import METRICS, Scored, draw_charts

RESULT = {
    "systems": {"lora": {"n": 9, "Bleu_4": 0.3, "CIDEr": 2.0, "BERTScore": {"f1": 0.9}, "intervals": {"Bleu_4": [0.2, 0.4]}},
                "full": {"n": 9, "Bleu_4": 0.5, "CIDEr": 2.1, "BERTScore": {"f1": 0.8}, "intervals": {}}},
    "tests": {"method": "paired approximate randomization", "trials": 10000, "seed": 0, "pairs": [
        {"systems": ["lora", "full"], "metrics": {"Bleu_4": {"difference": 0.2, "real": True}, "CIDEr": {"difference": 0.1, "real": False}}}]},
}
EACH = {name: {"METEOR": np.random.default_rng(seed).random(9), "CIDEr": np.random.default_rng(seed + 9).random(9)} for seed, name in enumerate(("lora", "full"))}


def test_the_table_marks_only_what_is_real():
    rows = score_rows(RESULT)
    assert rows[0] == ["metric", "a: LoRA", "b: full"]
    assert rows[1] == ["BLEU-4", "0.300 [0.200, 0.400]", "0.500 > a"]
    assert rows[2] == ["CIDEr", "2.000", "2.100"] and rows[3] == ["BERTScore.f1", "0.900", "0.800"]
    assert as_text(rows).splitlines()[2] == "CIDEr         2.000                 2.100"
    assert "paired approximate randomization with 10000 trials, seed 0" in explanation(RESULT)
    wrong = {**RESULT, "tests": {"pairs": [{"systems": ["lora", "full"], "metrics": {"chair_i": {"difference": 0.2, "real": True}}}]}}
    assert really_better(wrong) == {("lora", "chair_i"): {"full"}}  # of what was invented, less is better


def test_every_metric_of_the_room_has_one_entry_that_tables_charts_and_report_read():
    labels = [reading.label for reading in READINGS.values()]
    assert {*METRICS, *TRUTH_METRICS} <= set(READINGS) and len(set(labels)) == len(labels)
    assert [label_of(metric) for metric in READINGS] == labels  # no system's label stands before a metric's
    assert {metric for metric in READINGS if read_as(metric).lower_is_better} == {"chair_i", "chair_s"}
    assert read_as("mine") == Reading("mine", "", 1.0, False)  # a new metric is drawn and written before it has an entry


def test_the_report_marks_and_explains_as_the_entry_says(tmp_path, monkeypatch):
    monkeypatch.setitem(READINGS, "errors", Reading("word errors", "How many words are wrong.", top=2.0, lower_is_better=True))
    result = {"language": "en", "systems": {"lora": {"n": 9, "errors": 0.4, "Bleu_4": 0.4}, "full": {"n": 9, "errors": 0.8, "Bleu_4": 0.8}}}
    page = write_report(Report(result, {}, {}, [], {}, []), tmp_path / "report.html").read_text(encoding="utf-8")
    rows = {label: re.findall(r'<td( class="best")?>\s*([\d.]+)', row) for label, row in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page, re.DOTALL)}
    assert rows == {"word errors (less is better)": [(' class="best"', "0.400"), ("", "0.800")], "BLEU-4": [("", "0.400"), (' class="best"', "0.800")]}
    assert "How many words are wrong." in page and "higher is better unless its row says otherwise" in page
    assert np.allclose([line.get_ydata()[0] for line in figures.parallel_coordinates(result, ["errors"]).axes[0].lines], [1, 0.75])


def test_bars_stand_as_shares_of_the_highest_value_with_a_star_on_the_real_winner():
    (axes,) = figures.grouped_bars(RESULT, ["Bleu_4", "CIDEr"]).axes
    assert [round(bar.get_height(), 3) for bar in axes.patches] == [0.3, 0.2, 0.5, 0.21]
    stars = [text for text in axes.texts if text.get_text() == "★"]
    assert len(stars) == 1 and stars[0].xy[1] == pytest.approx(0.5)
    assert len({bar.get_hatch() for bar in axes.patches}) == 2  # told apart without colour
    with pytest.raises(InputError, match="nothing to draw"):
        figures.grouped_bars(RESULT, ["SPICE"])


def test_lines_are_shares_of_the_best_system():
    (axes,) = figures.parallel_coordinates(RESULT, ["Bleu_4", "CIDEr"]).axes
    assert np.allclose(axes.lines[0].get_ydata(), [0.6, 2 / 2.1]) and np.allclose(axes.lines[1].get_ydata(), [1, 1])


def test_single_pictures_are_drawn_and_ranked():
    assert len(figures.distributions(EACH, "CIDEr").axes[0].get_yticklabels()) == 2
    dots = figures.score_against_length(EACH, {"lora": range(9), "full": range(9)}, "METEOR").axes[0].collections
    assert np.allclose(dots[0].get_offsets(), np.column_stack([range(9), EACH["lora"]["METEOR"]]))
    table = figures.correlations(EACH).axes[0].images[0].get_array()
    assert np.allclose(np.diag(table), 1) and table[0, 1] == table[1, 0]
    with pytest.raises(InputError, match="no SPICE of single pictures.*METEOR, CIDEr"):
        figures.distributions(EACH, "SPICE")
    pictures = [Image.new("RGB", (16, 16), (number * 20, 0, 0)) for number in range(9)]
    drawn = figures.extremes(EACH, "lora", "METEOR", pictures, [f"caption {n}" for n in range(9)], ["一只红色的狗"] * 9, count=2)
    order = np.argsort(-EACH["lora"]["METEOR"])
    assert [axes.get_xlabel().split("\n")[0] for axes in drawn.axes] == [f"said: caption {n}" for n in (order[0], order[1], order[-1], order[-2])]


def test_of_what_was_invented_the_least_is_the_best():
    pictures, words = [Image.new("RGB", (8, 8))] * 9, [f"caption {n}" for n in range(9)]
    shares = np.array([0.5, 0.1, 0.9, *[0.3] * 6])
    drawn = figures.extremes({"lora": {"chair_i": shares}}, "lora", "chair_i", pictures, words, words, count=1)
    assert [axes.get_xlabel().split("\n")[0] for axes in drawn.axes] == ["said: caption 1", "said: caption 2"]


@pytest.mark.parametrize("words", ["a red dog number", "一只红色的狗，编号"])
def test_every_chart_of_a_measurement_is_drawn(tmp_path, words, recwarn):
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        Image.new("RGB", (16, 16), (number * 20, 0, 0)).save(path)
    texts = [f"{words} {number}" for number in range(9)]
    pairs = Pairs([str(n) for n in range(9)], [path.name for path in paths], paths, [[text] for text in texts], {"lora": texts, "full": texts[::-1]})
    constant = {name: columns | {"ROUGE_L": np.zeros(9)} for name, columns in EACH.items()}  # what never varies correlates with nothing
    constant["full"]["object_recall"] = np.linspace(0, 1, 9)  # of one system only
    drawn = draw_charts(Scored(RESULT, pairs, constant), tmp_path / "charts")
    single = [f"{metric}-{kind}" for metric in ("METEOR", "CIDEr", "ROUGE_L") for kind in ("length", "pictures", "extremes-lora", "extremes-full")]
    single += [f"object_recall-{kind}" for kind in ("length", "pictures", "extremes-full")]
    assert sorted(path.name for path in drawn) == sorted(f"{name}.svg" for name in ("bars", "parallel", "correlations", *single))
    for path in drawn:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert (tmp_path / "charts" / "CIDEr-extremes-lora.svg").read_text().count("<image") == 6
    assert not [warning for warning in recwarn if "missing from font" in str(warning.message)]
    without = Pairs(pairs.ids, pairs.images, [None] * 9, pairs.references, pairs.captions)
    assert not [path for path in draw_charts(Scored(RESULT, without, EACH), tmp_path / "blind") if "extremes" in path.name]


def test_chinese_is_drawn_or_its_lack_is_said(monkeypatch, recwarn):
    captions = ["一只红色的狗站在海滩上"] * 9
    pictures = [Image.new("RGB", (16, 16))] * 9
    figure = figures.extremes(EACH, "lora", "METEOR", pictures, captions, captions, count=1)
    figure.canvas.draw()
    missing = [str(warning.message) for warning in recwarn if "missing from font" in str(warning.message)]
    assert not missing
    monkeypatch.setattr(fonts, "chinese_family", lambda: None)
    monkeypatch.setattr(figures, "chinese_family", lambda: None)
    figure = figures.extremes(EACH, "lora", "METEOR", pictures, captions, captions, count=1)
    assert "said: [11 Chinese characters]" in figure.axes[0].get_xlabel() and "fonts-noto-cjk" in figure.get_supxlabel()


def test_perturbations_change_what_they_name():
    caption = "There is a red kite to the left of the small dog. A Red house is above it."
    changed = {name: change(caption) for name, change in PERTURBATIONS.items()}
    assert "red" not in changed["wrong colour"].lower() and len(changed["wrong colour"].split()) == len(caption.split())
    assert "to the right of" in changed["left and right swapped"] and "below it" in changed["left and right swapped"]
    assert changed["paraphrase"].startswith("One notices a red kite left of the little dog")
    assert sorted(changed["shuffled"].split()) == sorted(caption.split()) != changed["shuffled"].split()
    assert caption.startswith(changed["half"])
    assert changed == {name: change(caption) for name, change in PERTURBATIONS.items()}
