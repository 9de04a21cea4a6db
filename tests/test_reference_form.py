"""One's own pictures: the form keeps what is written, scores what it can, and says in a sentence what it cannot use."""

from functools import partial

import pytest
from PIL import Image

from helpers.core.conversations import read_conversations
from helpers.core.errors import InputError
from helpers.core.own_pictures import describe_folder, fit, look_through
from helpers.core.reference_form import ReferenceForm
from helpers.core.splits import BASE, make_case
from helpers.core.student import load_student
from helpers.metrics import MeteorPool, score_systems


@pytest.fixture(scope="module")
def student():
    return load_student("tiny", device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Three pictures of one's own, a text, and a file that only says it is a picture."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, name in enumerate(("beach.jpg", "cat.png", "street.jpg")):
        make_case(BASE, number).picture.save(folder / name)
    (folder / "notes.txt").write_text("buy milk")
    (folder / "broken.jpg").write_text("no picture")
    return folder


@pytest.fixture
def files(folder, student, tmp_path):
    return describe_folder(folder, {"pretrained": student}, tmp_path / "out", progress=None)


def refuse(*_):
    raise AssertionError("nothing was to be scored")


def test_a_folder_is_looked_through_and_what_is_no_picture_is_named(folder, files):
    looked = look_through(folder, folder / "x.json", "en")
    assert [sample.id for sample in looked.samples] == ["beach", "cat", "street"]
    assert any("broken.jpg is not a picture that can be read" in remark for remark in looked.remarks)
    assert any("notes.txt is no picture" in remark for remark in looked.remarks)
    described = read_conversations(files["pretrained"])
    assert [sample.id for sample in described] == ["beach", "cat", "street"] and all(sample.answer for sample in described)


def test_an_empty_folder_a_folder_of_texts_and_no_folder_are_each_told_apart(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_text("a")
    for name, words in (("empty", "empty holds no pictures"), ("texts", "texts holds no pictures"), ("nowhere", "there is no folder"),
                        ("broken", "holds no picture that can be used: a.jpg is not a picture")):
        with pytest.raises(InputError, match=words) as caught:
            look_through(tmp_path / name, tmp_path / "x.json", "en")
        assert "\n" not in str(caught.value)


def test_what_is_written_is_kept_and_there_again(folder, files, tmp_path):
    form = ReferenceForm(folder, tmp_path / "out" / "references.json", files, refuse)
    form.text.value = "Two boats on a beach."
    form.buttons["next"].click()
    assert form.at == 1 and form.text.value == "" and "cat.png" in form.where.value and "1 with a reference" in form.where.value
    form.buttons["previous"].click()
    assert form.text.value == "Two boats on a beach."
    again = ReferenceForm(folder, tmp_path / "out" / "references.json", files, refuse)
    assert again.text.value == "Two boats on a beach."
    again.text.value = "   "
    again.buttons["save"].click()
    assert "no reference" in again.message.value and read_list(tmp_path / "out" / "references.json") == []
    again.go(-1)
    assert again.at == 2


def read_list(file):
    import json

    return json.loads(file.read_text())


def test_the_systems_words_are_hidden_until_ones_own_are_written(folder, files, tmp_path):
    form = ReferenceForm(folder, tmp_path / "references.json", files, refuse)
    said = read_conversations(files["pretrained"])[0].answer
    assert said not in form.said.value
    form.write("My own words.")
    assert said in form.said.value


def test_scores_come_from_the_pictures_that_have_a_reference(folder, files, tmp_path):
    form = ReferenceForm(folder, tmp_path / "references.json", files, partial(score_systems, progress=False))
    with pytest.raises(InputError, match="none of 3 pictures has both"):
        form.score()
    form.buttons["score"].click()
    assert "nothing to score" in form.message.value
    said = {sample.id: sample.answer for sample in read_conversations(files["pretrained"])}
    form.write(said["beach"], "beach")
    one = form.score()
    assert one["systems"]["pretrained"]["n"] == 1 and "two samples" in one["unavailable"]["CIDEr"]
    assert one["remarks"] == ["2 pictures (cat, street) are without a reference and left out; write one in the form to have it scored."]
    form.write("Something else entirely.", "cat")
    with MeteorPool() as pool:
        form._score = partial(score_systems, progress=False, pool=pool)
        form.buttons["score"].click()
    assert "BLEU-4" in form.message.value and "CIDEr" in form.message.value and "street" in form.message.value
    with pytest.raises(InputError, match="no picture 'dog' in the form"):
        form.write("A dog.", "dog")


def test_one_picture_is_enough_and_what_it_cannot_tell_is_told(tmp_path, student):
    (tmp_path / "one").mkdir()
    make_case(BASE, 1).picture.save(tmp_path / "one" / "only.png")
    files = describe_folder(tmp_path / "one", {"pretrained": student}, tmp_path / "out", progress=None)
    form = ReferenceForm(tmp_path / "one", tmp_path / "references.json", files, refuse, language="zh")
    assert "only.png is the only picture" in form.message.value and "第 1 张，共 1 张" in form.where.value
    form.buttons["next"].click()
    assert form.at == 0


def test_references_and_descriptions_that_do_not_meet_are_told(folder, files, tmp_path):
    described = {"pretrained": read_conversations(files["pretrained"])}
    written = {sample.id: sample for sample in described["pretrained"]}
    partly = {**described, "lora": described["pretrained"][:2]}
    references, chosen, remarks = fit({**written, "gone": written["cat"]}, partly)
    assert [sample.id for sample in references] == ["beach", "cat"] == [sample.id for sample in chosen["lora"]]
    assert len(remarks) == 2 and "gone" in remarks[0] and "street" in remarks[1]
    form = ReferenceForm(folder, tmp_path / "references.json", {}, refuse)
    with pytest.raises(InputError, match="No system has described these pictures"):
        form.score()
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="is not valid JSON"):
        ReferenceForm(folder, tmp_path / "bad.json", {}, refuse)
    with pytest.raises(InputError, match="no language 'fr'"):
        ReferenceForm(folder, tmp_path / "r.json", {}, refuse, language="fr")


def test_the_form_is_drawn_from_a_small_copy_of_the_picture(tmp_path, student):
    (tmp_path / "large").mkdir()
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "large" / "red.jpg")
    form = ReferenceForm(tmp_path / "large", tmp_path / "r.json", {}, refuse)
    import io

    assert Image.open(io.BytesIO(form.picture.value)).size == (420, 210)
