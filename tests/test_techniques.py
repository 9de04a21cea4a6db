"""The lab's techniques as data: complete in both languages, and one clear sentence for every wrong edit."""

import pytest
import yaml

from helpers.core.errors import InputError
from helpers.core.prompts import question
from helpers.core.techniques import TECHNIQUES, Technique, load_techniques, merge


def edited(tmp_path, **changes):
    """The shipped file with some techniques replaced, read again."""
    records = yaml.safe_load(TECHNIQUES.read_text(encoding="utf-8"))
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(records | changes, allow_unicode=True), encoding="utf-8")
    return load_techniques(path)


def test_every_technique_of_the_course_is_there_in_both_languages():
    techniques = load_techniques()
    assert {"vague", "role", "list", "steps", "few_shot", "grounded", "json", "short", "each_dimension", "ask_then_verify"} <= set(techniques)
    for name, technique in techniques.items():
        english, chinese = technique.prompts("en"), technique.prompts("zh")
        assert len(english) == len(chinese) >= 1, name
        assert not any("\u4e00" <= c <= "\u9fff" for text in english for c in text)
        assert all(any("\u4e00" <= c <= "\u9fff" for c in text) for text in chinese)
    assert techniques["plain"].prompts("zh") == [question("main", "zh")]
    assert len(techniques["each_dimension"].prompts("en")) == 5
    assert '"""\nA dog.\n"""' in techniques["ask_then_verify"].second("en", "A dog.")


PAIR = {"en": "What?", "zh": "什么？"}


@pytest.mark.parametrize("record, sentence", [
    ({"ask": {"en": "What?"}}, "'mine'.*ask.zh: this is missing"),
    ({"ask": {"en": "What?", "zh": "  "}}, "ask.zh: the text is empty"),
    ({"ask": {"en": 3, "zh": "什么"}}, "ask.en"),
    ({"ask": PAIR, "thn": PAIR}, "thn: there is no such key"),
    ({"ask": PAIR, "then": PAIR}, r"\{answer\} in both languages"),
    ({"each": ["scene", "smell"]}, "no dimension 'smell'"),
    ({"ask": PAIR, "each": ["scene"]}, "either a prompt"),
    ({}, "either a prompt"),
    ({"ask": PAIR, "parameters": {"temperature": 3}}, "parameters.temperature"),
    ({"ask": PAIR, "parameters": {"top_p": 0}}, "parameters.top_p"),
    ({"ask": PAIR, "parameters": {"heat": 1}}, "parameters.heat: there is no such key"),
    ({"ask": PAIR, "schema": {"type": "objekt"}}, "no JSON Schema"),
    ("What is this?", "needs keys"), (None, "needs keys")])
def test_a_wrong_edit_gets_one_sentence(tmp_path, record, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        edited(tmp_path, mine=record)
    assert "mine.yaml" in str(caught.value) and "\n" not in str(caught.value) and "pydantic" not in str(caught.value)


@pytest.mark.parametrize("content, sentence", [(b"vague: {ask: {en: a: b}}", "line 1"), (b"", "holds no technique"), (b"- a", "holds no technique"),
                                              (b"\xff\xfe", "UTF-8|not YAML")])
def test_a_file_that_is_no_list_of_techniques_is_named(tmp_path, content, sentence):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(InputError, match=f"mine.yaml.*(?:{sentence})") as caught:
        load_techniques(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="restore"):
        load_techniques(tmp_path / "none.yaml")


@pytest.mark.parametrize("answer, fault", [
    ('{"setting": "park", "objects": [{"name": "dog", "count": 2, "colour": null}]}', None),
    ('```json\n{"setting": "park", "objects": [{"name": "dog", "count": 2}]}\n```', "words around"),
    ('{"setting": "park", "objects": []}', "objects"), ('{"setting": "park"}', "objects"), ('{"setting": "park", "objects": [{"name": "dog", "count": "two"}]}', "count"),
    ("A dog in a park.", "no JSON"), ('{"setting": "park", "obj', "no JSON")])
def test_answers_are_checked_against_the_format(answer, fault):
    found = load_techniques()["json"].fault(answer)
    assert (found is None) if fault is None else fault in found
    assert load_techniques()["plain"].fault(answer) is None  # has no format to keep


def test_prompts_of_ones_own_and_other_sampling():
    mine = Technique.of("What do you see?", temperature=0.2)
    assert mine.prompts("zh") == mine.prompts("en") == ["What do you see?"] and mine.parameters.told() == {"temperature": 0.2}
    assert mine.sampled(top_p=0.5).parameters.told() == {"temperature": 0.2, "top_p": 0.5}
    assert load_techniques()["json"].sampled(temperature=0).format == load_techniques()["json"].format
    for wrong in ({"temperature": 2.0}, {"warmth": 1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            mine.sampled(**wrong)
    with pytest.raises(InputError, match="empty"):
        Technique.of("")


def test_answers_are_merged_in_the_manner_of_the_language():
    assert merge(["A dog. ", "", " A cat."], "en") == "A dog. A cat." and merge(["狗。", "猫。"], "zh") == "狗。猫。"
