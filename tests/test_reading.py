"""Reading free text: how often it agrees with marks made by hand, offsets, structure, and texts of every odd kind."""

import pytest

from helpers.core.errors import InputError
from helpers.core.marked import ELEMENTS, agreement, disagreements, load_marked
from helpers.core.markup import flatten, parse_json
from helpers.core.naming import Placed
from helpers.core.reading import read

# Measured when the reader was written (run with -s to see today's numbers); a change of the reader must not fall below.
FLOORS = {"objects": (0.95, 0.97), "colours": (0.95, 0.93), "counts": (0.93, 0.93), "denials": (0.95, 0.80), "relations": (0.90, 0.85)}


@pytest.mark.parametrize("half", ["built", "held out"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_agrees_with_the_marks(language, half):
    sentences = load_marked(language, half)
    assert len(sentences) >= 30
    found = agreement(sentences)
    for name, (precision, recall) in FLOORS.items():
        print(f"{language} {half:<9} {name:<10} {found[name].marked:3} marked  precision {found[name].precision:.3f}  recall {found[name].recall:.3f}")
        assert found[name].precision >= precision and found[name].recall >= recall, (name, found[name])


def test_a_reader_that_reads_nothing_or_too_much_is_found_out():
    sentences = load_marked("en")
    nothing = agreement(sentences, lambda text, language: read("", language))
    wrong = agreement(sentences, lambda text, language: read("A red dog, a cat on a red bus.", language))
    assert all(nothing[name].recall == 0 for name in ELEMENTS)
    assert wrong["objects"].precision < 0.2 and wrong["colours"].precision < 0.2
    assert disagreements(sentences[0], lambda text, language: read("", language))["objects"][0] == {"dog"}


def test_marks_that_cannot_be_understood_are_named(tmp_path):
    (tmp_path / "marked_en.yaml").write_text("- {text: A dragon flies., says: [dragon*1]}", encoding="utf-8")
    with pytest.raises(InputError, match="marked_en.yaml, 'A dragon flies.'"):
        load_marked("en", folder=tmp_path)
    with pytest.raises(InputError, match="marked_zh.yaml"):
        load_marked("zh", folder=tmp_path)


@pytest.mark.parametrize("text, language", [
    ("## Objects\n\n- a **red** ball\n- two *white* dogs", "en"),
    ("| Object | Number | Colour |\n|---|---|---|\n| ball | 1 | red |\n| dog | 2 | white |", "en"),
    ('```json\n{"objects": [{"name": "ball", "count": 1, "colour": "red"}, {"name": "dog", "count": 2, "colour": "white"}]}\n```', "en"),
    ("**Ball**\n- Colour: red\n- Number: 1\n\n**Dog**\n- Colour: white\n- Number: 2", "en"),
    ("- 一个**红色**的球\n- 两只白色的狗", "zh"),
    ('[{"名称": "球", "颜色": "红色", "数量": 1}, {"名称": "狗", "颜色": "白色", "数量": 2}]', "zh")])
def test_structure_is_read_and_points_into_the_text_as_written(text, language):
    found = read(text, language).mentions
    assert [(m.kind, m.colour, m.count) for m in found] == [("ball", "red", 1), ("dog", "white", 2)]
    words = {"en": ("ball", "dog", "red", "white"), "zh": ("球", "狗", "红", "白")}[language]
    for mention, noun, colour in zip(found, words[:2], words[2:]):
        assert text[mention.start:mention.end].lower() in (noun, noun + "s")
        assert [text[a:b].rstrip("色") for a, b in mention.colour_spans] == [colour]


def test_flattened_characters_come_from_where_it_says():
    text = "### A **dog**\n1. `cat`\n> and a bus"
    flat = flatten(text, "en")
    assert all(text[at] == char for char, at in zip(flat.text, flat.offsets) if at >= 0)
    assert "*" not in flat.text and "#" not in flat.text


def test_json_that_is_cut_off_is_read_as_text():
    text = '{"objects": [{"name": "dog", "count": 2}, {"name": "ca'
    assert parse_json(text) == (None, 0)
    assert read(text, "en").said == {"dog"}


@pytest.mark.parametrize("text", ["", "   \n\n", "|", "|---|", "- ", "{}", "[]", "[[[]]]", '"', "null", "{\"a\": null}", "\u0000", "🐕" * 50, "**", "1.", "：", "没有", "no", "the of in on"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_odd_texts_say_nothing(text, language):
    found = read(text, language)
    assert not found.mentions and not found.relations


def test_each_relation_has_one_form():
    told = {read(text, "en").relations for text in ("The dog is left of the cat.", "The cat is to the right of the dog.", "To the left of the cat sits a dog.")}
    assert told == {(Placed("dog", "left of", "cat"),)}
    assert read("猫在桌子后面。", "zh").relations == read("桌子前面……不，桌子在猫的前面。", "zh").relations[:1] == (Placed("table", "in front of", "cat"),)


def test_a_long_answer_is_read():
    text = "The picture shows a park. There are two white dogs to the left of a red car, and no cats. " * 200
    found = read(text, "en")
    assert len(found.mentions) == 600 and found.said == {"dog", "car"} and found.denied == {"cat"}
