"""The chat widget with a real (random) student: asking, streaming, uploading, and what goes wrong."""

import datetime
import io

import pytest
from PIL import Image

from helpers.chat import NO_QUESTION, Chat
from helpers.core.scenes import plan_scene, render
from helpers.core.student import load_student
from helpers.core.tiny import build_student


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    corpus = ["What is in the picture? a red house & a dog", "图片里有什么？"] * 3
    return load_student(build_student(tmp_path_factory.mktemp("student"), corpus, hidden_size=96, layers=2, vision_size=64, vision_layers=1, vocabulary=400))


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / "first.png", tmp_path / "second.jpg"]
    for seed, path in enumerate(paths):
        render(plan_scene(seed)).save(path)
    return paths


def upload(name, content):
    """What a browser's upload puts into the widget."""
    return ({"name": name, "type": "image/png", "size": len(content), "content": memoryview(content), "last_modified": datetime.datetime(2026, 11, 22)},)


def test_an_answer_is_what_the_student_says(student, pictures):
    chat = Chat(student, pictures, "What is in the picture?", max_new_tokens=8)
    shown = []
    chat.answers.observe(lambda change: shown.append(change["new"]), "value")
    chat.button.click()
    assert chat.history == [("first.png", "What is in the picture?", student.describe([pictures[0]], "What is in the picture?", max_new_tokens=8)[0])]
    assert len(shown) > 2 and "…" in shown[0] and "…" not in shown[-1], "the answer comes piece by piece"
    assert not chat.button.disabled


def test_the_chosen_and_the_uploaded_picture_are_shown_and_asked_about(student, pictures):
    chat = Chat(student, pictures, "图片里有什么？", max_new_tokens=4)
    chat.choice.value = pictures[1]
    assert chat.preview.value == pictures[1].read_bytes()
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    chat.upload.value = upload("mine.png", buffer.getvalue())
    assert chat.preview.value == buffer.getvalue()
    chat.ask()
    assert chat.history[-1][0] == "mine.png"
    chat.choice.value = pictures[0]
    assert chat.picture[0] == "first.png" and not chat.upload.value


def test_faults_are_one_sentence_and_the_chat_goes_on(student, pictures):
    chat = Chat(student, pictures, "", max_new_tokens=4)
    chat.ask()
    assert NO_QUESTION in chat.answers.value and not chat.history
    chat.upload.value = upload("broken.png", b"no picture")
    assert chat.answers.value.count("<p>") == 1 and "picture" in chat.answers.value
    chat.choice.value = pictures[1]
    chat.question.value = "<b>What?</b>"
    chat.ask()
    assert len(chat.history) == 1 and "&lt;b&gt;What?" in chat.answers.value
