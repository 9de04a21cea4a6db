"""Cleaning of answers: what is cut off, what is left out, and that good answers, the course's own first, stay to the letter."""

import json

import pytest
import yaml
from teacher_scenes import drawn

from helpers.core import speech
from helpers.core.cleaning import clean_answer, count_words, in_language, is_refusal, strip_markdown
from helpers.core.paths import DATA
from helpers.core.scenes import read_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    drawn(folder, 60, 4)
    return read_scenes(folder / "scenes.jsonl")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_answer_of_the_stand_in_stays_to_the_letter(scenes, language):
    for scene in scenes:
        for dimension in speech.DIMENSIONS:
            for detail in ("normal", "everything"):
                said = speech.answer(scene, language, dimension, detail)
                if said:  # a scene without relations has none to tell
                    cleaned = clean_answer(said, language)
                    assert (cleaned.text, cleaned.changes, cleaned.reason) == (said, (), None)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_description_of_a_photograph_stays_to_the_letter(language):
    for photo in yaml.safe_load((DATA / "photos" / "descriptions.yaml").read_text(encoding="utf-8")).values():
        for texts in photo["descriptions"].values():
            cleaned = clean_answer(texts[language], language)
            assert (cleaned.text, cleaned.changes, cleaned.reason) == (texts[language], (), None)


@pytest.mark.parametrize("messy, plain", [
    ("**A red house** stands by *the* `sea`.", "A red house stands by the sea."),
    ("## Objects\n\n- a dog\n- two **balls**\n\nIt rains.", "Objects\na dog\ntwo balls\n\nIt rains."),
    ("1. A dog\n2. A cat\n3. A tree", "A dog\nA cat\nA tree"),
    ("A park.\n\n---\n\nIt is [night](http://example.org).", "A park.\n\nIt is night."),
    ("| object | colour |\n|---|---|\n| dog | brown |", "object, colour\ndog, brown"),
    ("这张照片里有**物体：**一只狗和**一棵树**。", "这张照片里有物体：一只狗和一棵树。"),
    ("> A quiet street\n> at night", "A quiet street\nat night"),
    ("```\nA dog in a park.\n```", "A dog in a park."),
])
def test_markdown_becomes_plain_words(messy, plain):
    assert strip_markdown(messy) == plain
    assert strip_markdown(plain) == plain


@pytest.mark.parametrize("text", [
    "A sign says 5 * 3 = 15 and file_name_one.", "1984. The year stands on a poster.", "Rain #1 <b>not a tag</b> & more.",
    "First line\nsecond line\n\nThird.", "两只狗 * 三只猫", "A price tag reads $3 - $5.", "雨中的街道——很安静。", "C:\\photos\\new",
])
def test_what_only_looks_like_markdown_stays(text):
    assert strip_markdown(text) == text


@pytest.mark.parametrize("answer, language, text", [
    ("Sure! Here is a detailed description of the image:\n\nA red house stands by the sea.", "en", "A red house stands by the sea."),
    ("Certainly, here's what I can see: two dogs are running.", "en", "Two dogs are running."),
    ("Here is a list of all the visible objects: a bus, a tree and a dog.", "en", "A bus, a tree and a dog."),
    ("**Description:** A man rides a horse.", "en", "A man rides a horse."),
    ("### Image Description\nA man rides a horse.", "en", "A man rides a horse."),
    ("Based on the image you provided, there is a bus.", "en", "There is a bus."),
    ("好的，以下是对图片的详细描述：\n\n画面中有一只狗。", "zh", "画面中有一只狗。"),
    ("当然！这是这张照片的描述：夜晚的公园里有一张桌子。", "zh", "夜晚的公园里有一张桌子。"),
    ("根据您提供的图片，画面中有两辆汽车。", "zh", "画面中有两辆汽车。"),
    ("A dog sleeps on a bed. I hope this helps!", "en", "A dog sleeps on a bed."),
    ("A dog sleeps on a bed.\n\nLet me know if you need more details.", "en", "A dog sleeps on a bed."),
    ("画面中有一只狗。希望这个描述对您有帮助！", "zh", "画面中有一只狗。"),
])
def test_talk_about_the_answer_goes(answer, language, text):
    cleaned = clean_answer(answer, language)
    assert cleaned.text == text and cleaned.reason is None and cleaned.changes


@pytest.mark.parametrize("answer, language", [
    ("This image shows a red house by the sea.", "en"), ("The picture shows a scene in a park at night.", "en"),
    ("Here is a dog beside a tree.", "en"), ("Here are two dogs: a brown one and a black one.", "en"),
    ("Here is a shopping list on a fridge: milk, bread and eggs.", "en"), ("This is a menu with details of prices: soup costs three.", "en"),
    ("Sure-footed goats climb a cliff.", "en"), ("Of course the shop is closed at night.", "en"),
    ("A sign says: \"Sorry, we are closed\".", "en"), ("The man says I can't see the sea from here.", "en"),
    ("A menu board lists soup, salad and bread, with prices.", "en"),
    ("A door with the sign “Entrée des artistes, défense d'entrer” stands open.", "en"),
    ("The sign over the gate reads 北京大学.", "en"), ("If you look closely, a cat hides behind the tree.", "en"),
    ("这张照片记录了夜晚公园的场景。", "zh"), ("这是一张照片，上面有两只狗：一只黑的，一只白的。", "zh"),
    ("可以看到一只狗和两个球。", "zh"), ("好看的花开在路边。", "zh"), ("广告牌上写着 COCA-COLA ENJOY IT 几个大字。", "zh"),
    ("门上的牌子写着“抱歉，今日无法营业”。", "zh"), ("以下雨天为背景，街上有两把伞。", "zh"),
])
def test_talk_about_the_picture_stays(answer, language):
    cleaned = clean_answer(answer, language)
    assert (cleaned.text, cleaned.changes, cleaned.reason) == (answer, (), None)


@pytest.mark.parametrize("answer", [
    "I'm sorry, but I can't assist with that request.", "I’m sorry, I cannot describe this image.", "Sorry, I am unable to view images.",
    "I cannot identify people in photographs.", "As an AI language model, I cannot see pictures.", "Unfortunately, I can't help with this.",
    "抱歉，我无法查看这张图片。", "很抱歉，我不能回答这个问题。", "对不起，我无法识别图中的人物。", "作为一个AI助手，我无法提供这类内容。",
    "我无法描述该图片的内容。", "I am sorry, this content is not allowed.",
])
def test_refusals_in_words_are_left_out(answer):
    assert is_refusal(answer)
    assert clean_answer(answer, "en" if answer.isascii() or "’" in answer else "zh").reason == "refused in words"


@pytest.mark.parametrize("answer, language, finish_reason, reason", [
    ("A red house stands by", "en", "length", "cut off"), ("  \n ", "en", "stop", "empty"), ("Sure!", "en", "stop", "empty"),
    ("这张照片记录了公园的场景。", "en", "stop", "wrong language"), ("A red house stands by the sea.", "zh", "stop", "wrong language"),
    ("Une maison rouge se trouve au bord de la mer, avec deux chiens.", "en", "stop", "wrong language"),
    ("これは赤い家の写真です。犬もいます。", "zh", "stop", "wrong language"),
    ("A dog.", "en", "stop", "too short"), ("公园。", "zh", "stop", "too short"),
])
def test_what_is_not_fit_is_left_out_with_its_reason(answer, language, finish_reason, reason):
    assert clean_answer(answer, language, finish_reason).reason == reason


def test_json_keeps_its_form_and_is_judged_by_its_texts():
    record = {"setting": "公园", "objects": [{"name": "狗", "count": 1, "colour": "棕色", "size": "小"}]}
    text = json.dumps(record, ensure_ascii=False, indent=2)
    assert clean_answer(text, "zh").text == text and clean_answer(text, "zh").reason is None
    fenced = clean_answer(f"```json\n{text}\n```", "zh")
    assert json.loads(fenced.text) == record and fenced.changes == ("markdown",) and fenced.reason is None
    assert clean_answer(text, "en").reason == "wrong language"


def test_the_least_length_can_be_chosen():
    assert clean_answer("A dog.", "en", least_words=2).reason is None
    assert clean_answer("A dog in a park.", "en", least_words=6).reason == "too short"
    assert count_words("A well-fed dog's 2 balls.", "en") == 5 and count_words("两只狗和 2 个球。", "zh") == 7
    assert in_language("12:30", "en") and in_language("12:30", "zh")
