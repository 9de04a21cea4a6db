"""The course's questions: every dimension in both languages, and clear words for what there is not."""

import pytest

from helpers.core.errors import InputError
from helpers.core.prompts import DIMENSIONS, load_prompts, question


def test_every_dimension_is_asked_in_both_languages():
    prompts = load_prompts()
    assert tuple(prompts) == DIMENSIONS
    assert question("main", "zh") == "请告诉我这张照片记录了一个什么场景，尽可能包含图像中出现的所有物体。"
    for texts in prompts.values():
        assert texts["en"].isascii() and any("\u4e00" <= c <= "\u9fff" for c in texts["zh"])


def test_what_there_is_not_is_named():
    with pytest.raises(InputError, match="'smell'.*main"):
        question("smell", "en")
    with pytest.raises(InputError, match="'fr'"):
        question("main", "fr")


@pytest.mark.parametrize("content", ["- a list", "main: {en: only}", "main: {en: x, zh: ' '}", "main: {"])
def test_a_file_that_is_not_right_is_named(tmp_path, content):
    (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="mine.yaml"):
        load_prompts(tmp_path / "mine.yaml")
