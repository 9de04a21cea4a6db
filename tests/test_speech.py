"""What the stand-in says: from the truth, in the language, dimension and detail asked, the same words for the same seed."""

import random

import pytest

from helpers.core import lessons, prompts, speech
from helpers.core.lexicon import COLOURS
from helpers.core.scenes import plan_scene
from helpers.core.truth import score

SCENES = [plan_scene(i) for i in range(120)]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("dimension", speech.DIMENSIONS)
def test_every_dimension_in_both_languages(language, dimension):
    for scene in SCENES:
        for detail in speech.DETAILS:
            text = speech.answer(scene, language, dimension, detail, seed="x")
            chinese = any("\u4e00" <= c <= "\u9fff" for c in text)
            assert chinese == (language == "zh") and text.endswith("." if language == "en" else "。")
            assert text == speech.answer(scene, language, dimension, detail, seed="x")


def test_detail_grows():
    lengths = {d: sum(len(speech.answer(s, "en", "main", d)) for s in SCENES) for d in speech.DETAILS}
    assert lengths["brief"] < lengths["normal"] < lengths["everything"]


def test_brief_answers_name_no_colours():
    texts = " ".join(speech.answer(s, "en", "main", "brief") for s in SCENES).lower().split()
    assert not {c.en for c in COLOURS.values()} & {t.strip(".,") for t in texts}


def test_wording_varies_with_the_seed():
    assert len({speech.answer(SCENES[0], "en", seed=str(i)) for i in range(20)}) > 1


def test_inventions_come_as_often_as_asked():
    scenes = [plan_scene(i) for i in range(600)]
    invented = sum(bool(score(speech.answer(s, "zh", seed="y", invent=0.3), s, "zh").hallucinated) for s in scenes)
    assert 0.2 < invented / 600 < 0.4


def test_facts_hold_every_group():
    for scene in SCENES:
        objects = speech.facts(scene, "en")["objects"]
        assert sum(o["count"] for o in objects) == len(scene.objects)


def test_lessons_describe_briefly_in_the_language_of_the_question():
    main = prompts.question("main", "en")
    for i, scene in enumerate(SCENES):
        for question, reply in lessons.dialogue(scene, random.Random(i), dimensions=0.5):
            assert any("\u4e00" <= c <= "\u9fff" for c in question) == any("\u4e00" <= c <= "\u9fff" for c in reply)
        question, reply = lessons.describe(scene, "en", random.Random(i))
        assert question in (*lessons.DESCRIBE["en"], main) and not score(reply, scene, "en").hallucinated
