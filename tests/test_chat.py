"""The chat with the tiny student and a random adapter: asking, streaming, stopping, memory, models side by side, uploads, and what goes wrong."""

import gc
import io
import json
import re
import threading
import weakref
import zipfile
import zlib
from html import unescape

import pytest
import torch
from chat_results import make_results
from markdown_it import MarkdownIt
from PIL import Image

from helpers.chat import MAX_QUESTION, Chat, open_chat
from helpers.core import chat_models
from helpers.core.baseline_student import Baseline
from helpers.core.chat_compare import judge, judged_table
from helpers.core.chat_decoding import BEAM, KNOBS, SAMPLING, Decoding
from helpers.core.chat_figures import END, Step, likeliest, steps_figure, temperature_figure
from helpers.core.chat_models import BROKEN, READY, Models, Offer, find_offers, needed_bytes
from helpers.core.chat_parts import PIECE, Composer, Log, PicturePanel
from helpers.core.chat_pictures import MAX_BYTES, MAX_PIXELS, Refused, gallery_of_files, gallery_of_scenes, receive
from helpers.core.chat_stream import context_length, encode_turns, stream_turns
from helpers.core.chat_systems import Base, OwnSystem, StudentSystem, TeacherSystem, grow
from helpers.core.chat_truth import mark, missed, tell
from helpers.core.chat_turns import COMPLETE, CUT, FAILED, STOPPED, Conversation, Shown, as_typed
from helpers.core.chat_words import _WORDS, words
from helpers.core.cnn_encoder import Encoder
from helpers.core.conversations import Turn
from helpers.core.encoding import render_prompt
from helpers.core.errors import InputError, TeacherError
from helpers.core.paths import ROOT, STUDENT
from helpers.core.profiles import load_profile
from helpers.core.scenes import draw_scenes, plan_scene, render
from helpers.core.show_attend_tell import ShowAttendTell
from helpers.core.student import load_student
from helpers.core.vocabulary import Vocabulary

QUESTION = "What is in the picture?"
LABEL = {"en": "A model", "zh": "模型"}
NOTE = {"en": "", "zh": ""}
EVIL = ["<script>alert(1)</script>", '<img src=x onerror="alert(1)">', "**bold** [link](javascript:alert(1))", "$\\frac{a}{b}$ \\(x\\)"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An adapter of random weights for the tiny student, and four drawn scenes."""
    folder = tmp_path_factory.mktemp("chat")
    make_results(folder / "results")
    draw_scenes(folder / "scenes", train=0, eval=4, seed=6, progress=None)
    return folder


@pytest.fixture(scope="module")
def models(folder):
    """A pretrained student and its adapter; every test may choose anew."""
    models = Models([Offer("pretrained", LABEL, NOTE, model=str(STUDENT)),
                     Offer("lora", LABEL, NOTE, model=str(STUDENT), adapter=folder / "results" / "lora" / "model"),
                     Offer("full", LABEL, NOTE, missing={"en": "not trained yet", "zh": "尚未训练"})])
    yield models
    models.close()


@pytest.fixture
def gallery(folder):
    return gallery_of_scenes(folder / "scenes", draw_scenes(folder / "scenes", train=0, eval=4, seed=6, progress=None))


@pytest.fixture
def chat(models, gallery):
    models.failures.clear()
    chat = Chat(models, gallery, decoding=Decoding(max_new_tokens=8))
    sent = chat.log.sent = []
    chat.log.send = lambda message, buffers=None: sent.append((message, buffers))
    yield chat
    chat.stop()
    chat.wait()


def png(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


class Slow:
    """A system that writes a word whenever it is let."""

    nbytes = 0

    def __init__(self):
        self.go, self.asked = threading.Semaphore(0), []

    def stream(self, picture, turns, decoding, stop):
        """Word by word, until stopped."""
        self.asked.append(turns)

        def words_of():
            for number in range(1000):
                while not self.go.acquire(timeout=0.05):
                    if stop.is_set():
                        return
                yield f"word{number} "

        yield from grow(words_of(), stop)

    def close(self):
        """Nothing."""


def until(true):
    """Wait for something that another thread does."""
    for _ in range(6000):
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen within two minutes")


def chat_with(system, gallery, **more):
    offers = [Offer(name, LABEL, NOTE, open=lambda one=one: one) for name, one in {"slow": system, **more}.items()]
    chat = Chat(Models(offers), gallery, chosen=("slow",))
    sent = chat.log.sent = []
    chat.log.send = lambda message, buffers=None: sent.append((message, buffers))
    return chat


# ---- asking ------------------------------------------------------------------------------------------------------------


def test_an_answer_is_what_the_student_says_and_is_shown_while_it_grows(chat, folder):
    picture = Image.open(io.BytesIO(chat.picture.jpeg))
    assert chat.ask(QUESTION)
    exchange = chat.wait()
    answer = exchange.answers[0]
    student = load_student(STUDENT, device="cpu")
    assert answer.text == student.describe([picture], QUESTION, max_new_tokens=8)[0]
    assert answer.state in (COMPLETE, CUT) and answer.tokens >= 1 and answer.first_token <= answer.seconds
    texts = [message["answer"]["text"] for message, _ in chat.log.sent if message["kind"] == "answer"]
    assert texts[-1] == answer.text and len(texts) >= 3 and texts[0] == ""
    assert not chat.busy and "tokens/s" in chat.log.sent[-1][0]["exchange"]["answers"][0]["badge"]


def test_a_stream_grows_stops_and_gives_the_words_of_generate(folder):
    student = load_student(STUDENT, device="cpu")
    picture, turns, stop = render(plan_scene(1)), [Turn("user", QUESTION)], threading.Event()
    steps = list(stream_turns(student, picture, turns, Decoding(max_new_tokens=12), pause=0))
    assert steps[-1].text == student.describe([picture], QUESTION, max_new_tokens=12)[0] and steps[-1].end in (COMPLETE, CUT)
    assert [step.tokens for step in steps] == sorted(step.tokens for step in steps) and all(step.end is None for step in steps[:-1])
    beams = list(stream_turns(student, picture, turns, Decoding(beams=3, max_new_tokens=12), pause=0))
    assert beams[-1].text == student.describe([picture], QUESTION, num_beams=3, max_new_tokens=12)[0]
    seen = []
    for step in stream_turns(student, picture, turns, Decoding(max_new_tokens=1000, repetition_penalty=1.5), stop, pause=0):
        seen.append(step)
        stop.set()
    assert seen[-1].end == STOPPED and seen[-1].tokens < 1000


def test_sampling_is_reproducible_by_its_seed_and_leaves_torchs_own_numbers_alone(folder):
    student = load_student(STUDENT, device="cpu")
    picture, turns = render(plan_scene(1)), [Turn("user", QUESTION)]

    def drawn(seed):
        return list(stream_turns(student, picture, turns, Decoding(mode=SAMPLING, temperature=2.0, top_p=1.0, top_k=0, seed=seed, max_new_tokens=16)))[-1].text

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert drawn(1) == drawn(1) != drawn(2)
    assert torch.equal(torch.rand(1), expected)


def test_two_clicks_do_not_start_two_answers(gallery):
    system = Slow()
    chat = chat_with(system, gallery)
    assert chat.ask("one")
    assert not chat.ask("two") and chat.composer.notice == words("en")["busy"]
    assert not chat.regenerate() and not chat.edit(0, "three")
    system.go.release()
    until(lambda: chat.conversation.exchanges[0].answers[0].text)
    chat.stop()
    exchange = chat.wait()
    assert len(chat.conversation.exchanges) == len(system.asked) == 1 and exchange.answers[0].state == STOPPED
    assert not chat.busy and chat.ask("two")
    chat.stop()
    chat.wait()
    chat.close()


def test_stop_keeps_what_was_written_and_the_systems_after_it_are_not_asked(gallery):
    first, second = Slow(), Slow()
    chat = chat_with(first, gallery, second=second)
    chat.use("slow", "second")
    chat.ask("question")
    first.go.release(2)
    until(lambda: "word1" in chat.conversation.exchanges[0].answers[0].text)
    chat.composer.receive({"kind": "stop"})
    answers = chat.wait().answers
    assert answers[0].text == "word0 word1" and [answer.state for answer in answers] == [STOPPED, STOPPED] and second.asked == []
    chat.close()


def test_a_cleared_conversation_stays_clear(gallery):
    system = Slow()
    chat = chat_with(system, gallery)
    chat.ask("question")
    chat.clear()
    assert chat.wait() is None and not chat.conversation.pictures
    assert [message["kind"] for message, _ in chat.log.sent][-1] == "truncate"
    assert chat.ask("another") and len(chat.conversation.exchanges) == 1
    chat.close()


# ---- several turns ------------------------------------------------------------------------------------------------------


def test_earlier_turns_about_the_same_picture_go_into_the_prompt(chat, folder):
    chat.ask("One?")
    first = chat.wait()
    chat.ask("Two?")
    second = chat.wait()
    turns = chat.conversation.memory(second, "pretrained")
    assert [turn.content for turn in turns] == ["One?", first.answers[0].text, "Two?"]
    student = load_student(STUDENT, device="cpu")
    picture = Image.open(io.BytesIO(chat.picture.jpeg))
    text = student.processor.tokenizer.decode(encode_turns(student, picture, turns, 8)["input_ids"][0])
    asked = re.sub(r"<image>(<\|image_pad\|>)+</image>", "<|image_pad|>", text)  # the picture's place, filled with its tokens
    assert asked == render_prompt(student.processor, turns)
    alone = list(stream_turns(student, picture, [Turn("user", "Two?")], Decoding(max_new_tokens=8)))[-1].text
    assert second.answers[0].text == list(stream_turns(student, picture, turns, Decoding(max_new_tokens=8)))[-1].text != alone
    chat.knobs.remember.value = False
    chat.ask("Three?")
    assert [turn.content for turn in chat.conversation.memory(chat.wait(), "pretrained")] == ["Three?"]
    chat.knobs.remember.value = True
    chat.choose("scene-0001")
    chat.ask("Four?")
    assert [turn.content for turn in chat.conversation.memory(chat.wait(), "pretrained")] == ["Four?"], "another picture, another conversation"


def test_what_does_not_fit_is_left_out_from_the_oldest_on(folder):
    student = load_student(STUDENT, device="cpu")
    picture, room = render(plan_scene(1)), context_length(student.model)
    turns = [Turn("user", "old question " * room), Turn("assistant", "old"), Turn("user", "new")]
    assert encode_turns(student, picture, turns, 8)["input_ids"].shape == encode_turns(student, picture, turns[2:], 8)["input_ids"].shape
    with pytest.raises(InputError, match="shorter"):
        encode_turns(student, picture, turns[:1], 8)


def test_answering_again_and_editing_replace_what_came_after(chat):
    for question in ("One?", "Two?", "Three?"):
        chat.ask(question)
        chat.wait()
    greedy = chat.conversation.exchanges[-1].answers[0].text
    assert chat.regenerate() and chat.wait().answers[0].text == greedy and len(chat.conversation.exchanges) == 3
    chat.knobs.mode.value = SAMPLING
    seed = chat.knobs.decoding.seed
    chat.log.receive({"kind": "again", "index": 2})
    assert chat.wait().decoding["seed"] == seed + 1 and len(chat.conversation.exchanges) == 3
    chat.log.receive({"kind": "edit", "index": 1})
    assert chat.composer.editing == 1 and chat.composer.value == "Two?"
    chat.composer.receive({"kind": "cancel_edit"})
    assert chat.composer.editing == -1 and chat.composer.value == ""
    chat.log.receive({"kind": "edit", "index": 1})
    chat.choose("scene-0002")  # the edited question keeps its own picture
    chat.composer.receive({"kind": "ask", "question": "Instead?"})
    chat.wait()
    assert [exchange.question for exchange in chat.conversation.exchanges] == ["One?", "Instead?"]
    assert chat.conversation.exchanges[0].picture == chat.conversation.exchanges[1].picture
    assert chat.composer.editing == -1


# ---- models -------------------------------------------------------------------------------------------------------------


def test_an_adapter_switches_without_reloading_its_base_and_memory_is_told(folder, models, chat):
    picture, turns = render(plan_scene(3)), [Turn("user", QUESTION)]
    chat.use("pretrained")
    models.wait()
    base = models.get("pretrained").base
    alone = models.memory()
    fresh = load_student(STUDENT, device="cpu").model
    assert alone == {"pretrained": sum(tensor.nbytes for tensor in [*fresh.parameters(), *fresh.buffers()])}

    def says(key):
        return list(models.get(key).stream(picture, turns, Decoding(max_new_tokens=12), threading.Event()))[-1].text

    plain = says("pretrained")
    chat.use("pretrained", "lora")
    models.wait()
    assert models.get("lora").base is base is models.get("pretrained").base
    told = models.memory()
    assert told["pretrained"] == alone["pretrained"] and 0 < told["lora"] < alone["pretrained"]
    adapted = says("lora")
    assert adapted == load_student(STUDENT, folder / "results" / "lora" / "model", device="cpu").describe([picture], QUESTION, max_new_tokens=12)[0]
    assert adapted != plain == says("pretrained") and says("lora") == adapted
    chat.use("lora")
    models.wait()
    assert models.memory() == {"lora": told["lora"], "base": alone["pretrained"]} and says("lora") == adapted
    chat.use("pretrained")
    models.wait()
    assert models.memory() == alone and says("pretrained") == plain and models.get("pretrained").base is base
    chat.use("pretrained", "lora")
    models.wait()
    assert says("lora") == adapted, "an adapter comes back after it was given back"
    assert f"{told['lora'] / 2**20:.1f} MiB" in chat.boxes.notes["lora"].value
    assert f"{sum(told.values()) / 2**20:.1f} MiB" in chat.boxes.total.value
    chat.use("pretrained")
    models.wait()


def test_systems_answer_the_same_question_side_by_side(chat, models):
    chat.boxes.boxes["lora"].value = True
    assert models.chosen == ["pretrained", "lora"]
    chat.ask(QUESTION)
    exchange = chat.wait()
    assert [answer.system for answer in exchange.answers] == ["pretrained", "lora"] and exchange.done
    assert exchange.answers[0].text != exchange.answers[1].text
    chat.boxes.boxes["lora"].value = False
    models.wait()


def test_what_is_missing_is_named_with_its_remedy(folder, models, tmp_path):
    offers = {offer.key: offer for offer in find_offers(load_profile("tiny"), tmp_path)}
    assert "captionlab course" in offers["lora"].missing["en"] and "captionlab course" in offers["full"].missing["zh"]
    assert "captionlab course" in offers["baseline"].missing["en"]
    assert offers["pretrained"].missing is None and "not Qwen-VL" in offers["teacher"].label["en"]
    with pytest.raises(InputError, match="not trained yet"):
        models.choose(["full"])
    with pytest.raises(InputError, match="choose from"):
        models.choose(["nobody"])
    found = {offer.key: offer for offer in find_offers(load_profile("tiny"), folder / "results")}
    assert found["lora"].model == str(STUDENT) and found["lora"].adapter == folder / "results" / "lora" / "model"
    assert "DASHSCOPE_API_KEY" in {offer.key: offer for offer in find_offers(load_profile("lab"), tmp_path)}["teacher"].missing["en"]


def test_a_model_that_cannot_be_loaded_fails_its_answers_alone(folder, gallery):
    models = Models([Offer("good", LABEL, NOTE, model=str(STUDENT)), Offer("broken", LABEL, NOTE, model=str(folder / "scenes")),
                     Offer("foreign", LABEL, NOTE, model=str(STUDENT), adapter=folder / "scenes")])
    chat = Chat(models, gallery, chosen=("broken", "good", "foreign"), decoding=Decoding(max_new_tokens=4))
    chat.ask(QUESTION)
    states = {answer.system: answer for answer in chat.wait().answers}
    assert states["good"].text and states["broken"].state == states["foreign"].state == FAILED
    assert "no model" in states["broken"].why and "no adapter" in states["foreign"].why
    assert models.state("broken") == BROKEN and models.state("good") == READY and "no model" in chat.boxes.notes["broken"].value
    chat.close()
    assert models.memory() == {}


def test_a_system_of_its_own_answers_like_the_others(gallery):
    class Baseline:
        def describe(self, pictures, question):
            return [f"{len(pictures)} picture of {pictures[0].size}: {question}"]

    class Streams:
        def stream(self, picture, question):
            yield from ("a ", "b")

    offers = find_offers(load_profile("tiny"), "nowhere", others={"baseline": Baseline(), "streams": Streams()})
    chat = Chat(Models(offers), gallery, chosen=("baseline", "streams"))
    chat.ask("Why?")
    assert [answer.text for answer in chat.wait().answers] == ["1 picture of (224, 224): Why?", "a b"]
    assert "tokens not told" in chat._view(0)["answers"][0]["badge"]
    assert OwnSystem(torch.nn.Linear(3, 4)).nbytes == 4 * 16
    chat.close()


def test_a_baseline_that_the_course_trained_is_loaded_from_its_folder(tmp_path, gallery):
    vocabulary = Vocabulary.build(["a red dog", "two blue cats"], "en")
    baseline = Baseline(Encoder(), ShowAttendTell(len(vocabulary)), vocabulary, QUESTION)
    assert "captionlab course" in {offer.key: offer for offer in find_offers(load_profile("tiny"), tmp_path)}["baseline"].missing["en"]
    baseline.save(tmp_path / "baseline" / "model")
    chat = Chat(Models(find_offers(load_profile("tiny"), tmp_path)), gallery, chosen=("baseline",), decoding=Decoding(max_new_tokens=9))
    picture = Image.open(io.BytesIO(chat.picture.jpeg))
    for decoding, options in ((Decoding(max_new_tokens=9), {}), (Decoding(beams=3, max_new_tokens=9), {"num_beams": 3}), (Decoding(mode=SAMPLING, max_new_tokens=9), {})):
        chat.knobs.decoding = decoding
        chat.ask("What?")
        answer = chat.wait().answers[0]
        assert (answer.state, answer.why) == (COMPLETE, "") and answer.text == baseline.describe([picture], QUESTION, max_new_tokens=9, **options)[0].strip()
    assert chat.models.memory() == {"baseline": sum(parameter.nbytes for parameter in baseline.parameters())}
    assert "no question" in chat.boxes.notes["baseline"].value and "MiB" in chat.boxes.notes["baseline"].value
    chat.close()
    own = find_offers(load_profile("tiny"), tmp_path, others={"baseline": baseline})
    assert [offer.key for offer in own].count("baseline") == 1 and own[3].label["en"] == "baseline", "one's own takes the course's place"


def test_a_model_for_which_there_is_no_room_is_refused_before_it_is_loaded(gallery, monkeypatch):
    parameters = sum(tensor.numel() for tensor in load_student(STUDENT, device="cpu").model.parameters())
    assert needed_bytes(str(STUDENT), "cpu") == 4 * parameters and needed_bytes(str(STUDENT), "cuda") * 2 == needed_bytes(str(STUDENT), "cpu")
    assert needed_bytes("nobody/nothing", "cpu") == 0
    monkeypatch.setattr(chat_models, "free_bytes", lambda device: 2**20)
    chat = Chat(Models([Offer("pretrained", {"en": "Pretrained", "zh": "预训练"}, NOTE, model=str(STUDENT))]), gallery)
    chat.language = "zh"
    chat.ask(QUESTION)
    answer = chat.wait().answers[0]
    assert answer.state == FAILED and "可用的只有 0.0" in answer.why and "0.0 GiB" in answer.why and "可用的只有" in chat.boxes.notes["pretrained"].value
    monkeypatch.undo()
    chat.language = "en"
    chat.use("pretrained")
    chat.ask(QUESTION)
    assert chat.wait().answers[0].text, "with room it is loaded after all"
    chat.close()


def test_what_is_unticked_is_given_back_before_the_next_is_loaded(gallery):
    events = []

    class Named(Slow):
        def __init__(self, name):
            super().__init__()
            self.name = name
            events.append(f"load {name}")

        def close(self):
            events.append(f"close {self.name}")

    models = Models([Offer(name, LABEL, NOTE, open=lambda name=name: Named(name)) for name in ("one", "two")])
    models.choose(["one"])
    models.wait()
    models.choose(["two"])
    models.wait()
    assert events == ["load one", "close one", "load two"]
    for _ in range(20):  # faster than anything is loaded
        models.choose(["one"])
        models.choose(["two"])
    models.wait()
    assert events.count("load one") == events.count("close one") and events.count("load two") == events.count("close two") + 1
    models.close()
    assert events.count("load two") == events.count("close two")


def test_a_model_that_did_not_load_holds_no_memory(gallery):
    class Half:
        pass

    held = []

    def load():
        half = Half()
        held.append(weakref.ref(half))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    chat = Chat(Models([Offer("large", LABEL, NOTE, open=load)]), gallery, chosen=("large",))
    chat.models.wait()
    gc.collect()
    assert held[0]() is None and chat.models.state("large") == BROKEN
    assert "Memory ran out: untick a model" in chat.boxes.notes["large"].value
    chat.close()


def test_the_stand_in_answers_over_the_real_sdk_and_is_called_so(folder, gallery):
    chat = Chat(Models(find_offers(load_profile("tiny"), "nowhere", folder / "scenes")), gallery, chosen=("teacher",))
    chat.ask("Name every object in this picture with its number, colour and size.")
    answer = chat.wait().answers[0]
    assert answer.state == COMPLETE and answer.label == "Offline stand-in, not Qwen-VL" and answer.tokens >= len(answer.text.split()) and "tokens/s" in chat._view(0)["answers"][0]["badge"]
    assert not missed(answer.text, gallery[0].scene, "en")
    chat.close()


def test_a_teacher_that_does_not_answer_is_one_sentence(gallery):
    class Deaf:
        def stream(self, picture, question, **parameters):
            raise TeacherError("the connection broke: ask again")
            yield

    chat = chat_with(TeacherSystem(Deaf()), gallery)
    chat.ask("What?")
    answer = chat.wait().answers[0]
    assert (answer.state, answer.why) == (FAILED, "the connection broke: ask again") and not chat.busy


# ---- decoding -----------------------------------------------------------------------------------------------------------


def test_the_knobs_make_the_settings_and_bad_ones_are_refused(chat):
    chat.knobs.sliders["beams"].value = 3
    chat.knobs.sliders["repetition_penalty"].value = 1.2
    assert chat.knobs.decoding.options() == {"num_beams": 3, "do_sample": False, "repetition_penalty": 1.2, "max_new_tokens": 8}
    assert chat.knobs.rows["temperature"].layout.display == "none" and chat.knobs.rows["beams"].layout.display is None
    chat.knobs.mode.value = SAMPLING
    assert chat.knobs.rows["temperature"].layout.display is None and chat.knobs.rows["beams"].layout.display == "none"
    assert chat.knobs.decoding.options() == {"num_beams": 1, "do_sample": True, "repetition_penalty": 1.2, "max_new_tokens": 8, "temperature": 0.7, "top_p": 0.8, "top_k": 100}
    assert "beams" not in chat.knobs.decoding.told() and "seed" in chat.knobs.decoding.told()
    chat.language = "zh"
    assert chat.knobs.mode.value == SAMPLING and chat.knobs.sliders["temperature"].description == "温度"
    for bad in ({"beams": 0}, {"temperature": 0}, {"top_p": 1.5}, {"seed": -1}, {"mode": "guess"}, {"max_new_tokens": True}):
        with pytest.raises(InputError):
            Decoding(**bad)
    for name in KNOBS:
        assert all(f"{name}{end}" in _WORDS for end in ("", "_hint"))
    assert Decoding(mode=BEAM).parameters()["temperature"] < 0.1 and "top_k" not in Decoding(mode=SAMPLING, top_k=0).parameters()


# ---- pictures -----------------------------------------------------------------------------------------------------------


def bomb():
    """A PNG whose header claims more pixels than are allowed, in a few bytes."""
    data = bytearray(png(Image.new("1", (8, 8))))
    side = int(MAX_PIXELS**0.5) + 1000
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def huge():
    """As above, past the point where Pillow itself refuses."""
    data = bytearray(png(Image.new("1", (8, 8))))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("data, name, says", [
    (b"", "empty.png", "empty"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "drawing.svg", "not a picture"),
    (b"%PDF-1.7\n1 0 obj", "letter.jpg", "not a picture"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(%pipe%id) (r) file\n", "drawing.jpg", "not a picture"),
    (png(Image.new("RGB", (64, 64), "red"))[:80], "cut.png", "damaged"),
    (png(Image.effect_noise((200, 200), 60).convert("RGB"), "JPEG")[:3000], "cut.jpg", "damaged"),
    (b"x" * (MAX_BYTES + 1), "big.png", "20 MB"),
    (bomb(), "bomb.png", "million pixels"),
    (huge(), "huge.png", "million pixels"),
    (png(Image.new("RGB", (4, 4))), "dot.png", "too small"),
    (png(Image.new("RGB", (2000, 20))), "strip.png", "too narrow"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_no_safe_picture_is_refused_in_one_sentence_and_the_chat_goes_on(chat, data, name, says):
    before = chat.picture
    assert not chat.upload(data, name)
    assert says in chat.panel.notice and chat.panel.notice.startswith(name) and chat.panel.notice.count(". ") == 0
    assert chat.picture is before and chat.ask(QUESTION)
    assert chat.wait().answers[0].text
    chat.language = "zh"
    chat.upload(data, name)
    assert chat.panel.notice.endswith("。") and name in chat.panel.notice


def test_odd_pictures_are_converted_and_the_chat_says_how(chat):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "SecretCamera"
    wide = Image.new("RGB", (120, 60), "red")
    for data, size, note in [
        (png(wide, "JPEG", exif=exif), (60, 120), "turned upright"),
        (png(wide.convert("CMYK"), "JPEG"), (120, 60), "CMYK"),
        (png(wide, "GIF", save_all=True, append_images=[Image.new("RGB", (120, 60), "blue")]), (120, 60), "first frame"),
        (png(Image.new("RGB", (3000, 1500), "red")), (1344, 672), "scaled down"),
        (png(wide, "TIFF", save_all=True, append_images=[wide]), (120, 60), "several pages"),
        (png(wide, "MPO", save_all=True, append_images=[wide]), (120, 60), ""),
        (png(Image.new("RGBA", (64, 64), (255, 0, 0, 0))), (64, 64), ""),
    ]:
        assert chat.upload(data, "mine.png")
        kept = Image.open(io.BytesIO(chat.picture.jpeg))
        assert kept.size == size and kept.mode == "RGB" and kept.format == "JPEG"
        assert note in chat.panel.notice and bool(note) == bool(chat.panel.notice)
        assert b"SecretCamera" not in chat.picture.jpeg
    assert Image.open(io.BytesIO(chat.picture.jpeg)).getpixel((5, 5)) == (255, 255, 255)
    assert chat.panel.chosen == "" and chat.panel.name == "mine.png"


def test_uploads_arrive_in_pieces_and_only_whole(chat):
    data = png(Image.effect_noise((1100, 1100), 80).convert("RGB"))
    pieces = [data[at:at + PIECE] for at in range(0, len(data), PIECE)]
    assert len(pieces) > 1

    def send(index, of=len(pieces), id="a", content=None):
        chat.panel.receive({"kind": "piece", "id": id, "name": "noise.png", "index": index, "of": of}, [memoryview(content or pieces[index])])

    for index in range(len(pieces)):
        assert chat.panel.name != "noise.png"
        send(index)
    assert chat.panel.name == "noise.png"
    chat.choose("scene-0000")
    send(0)
    send(len(pieces) - 1, id="b")
    assert "did not arrive whole" in chat.panel.notice and chat.panel.chosen == "scene-0000"
    send(0, of=10**6)
    assert "20 MB" in chat.panel.notice
    send(0, content=b"x" * (PIECE + 1))
    assert "20 MB" in chat.panel.notice
    chat.panel.receive({"kind": "too_large", "name": "<b>film</b>"}, [])
    assert chat.panel.notice.startswith("<b>film</b>")
    chat.panel.receive({"kind": "choose", "key": "../../etc/passwd"}, [])
    assert chat.panel.chosen == "scene-0000"


def test_receiving_keeps_only_pixels():
    received = receive(png(Image.new("RGB", (64, 64), "red")), "  odd\nname.png ")
    assert received.picture.name == "odd name.png" and received.picture.jpeg[:2] == b"\xff\xd8"
    with pytest.raises(Refused):
        receive(b"GIF89a", "broken.gif")


# ---- words, truth, saving -------------------------------------------------------------------------------------------------


def test_one_switch_changes_every_word(chat):
    chat.ask(QUESTION)
    chat.wait()
    chat.switch.value = "zh"
    assert chat.composer.words["ask"] == "提问" and chat.save_button.description == "保存" and chat.page.title.value == "<h2>看图对话</h2>"
    assert chat.boxes.boxes["pretrained"].description == LABEL["zh"] and chat.panel.name == "绘制场景 1"
    assert ["整体", "请告诉我这张照片记录了一个什么场景，尽可能包含图像中出现的所有物体。"] in chat.composer.suggestions
    kind, view = chat.log.sent[-1][0]["kind"], chat.log.sent[-1][0]["exchanges"][0]
    assert kind == "all" and view["answers"][0]["state_word"] in ("已完成", "达到长度上限") and "词元" in view["answers"][0]["badge"]
    chat.language = "en"
    assert chat.composer.words["ask"] == "Ask"
    with pytest.raises(InputError):
        chat.language = "fr"
    for name, (english, chinese) in _WORDS.items():
        assert english and chinese
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", chinese)), name


def test_truth_marks_what_is_right_and_wrong():
    scene = plan_scene(3)  # a white car and a pink kite in the mountains
    text = "Two white cars, a red kite and a dog in the mountains."
    pieces = mark(text, scene, "en")
    assert "".join(piece.text for piece in pieces) == text
    marks = {piece.text: (piece.mark, piece.why) for piece in pieces if piece.mark}
    assert marks == {"white": ("right", ""), "cars": ("wrong", "there is 1"), "red": ("wrong", "it is pink"), "kite": ("right", ""), "dog": ("wrong", "there is none")}
    assert [piece.mark for piece in mark("There is no dog and no kite.", scene, "zh") if piece.mark] == ["right", "wrong"]
    assert "".join(piece.text for piece in mark("山里有一辆白色的汽车。", scene, "zh")) == "山里有一辆白色的汽车。"
    assert missed("a white car", scene, "en") == ["kite"] and "pink" in tell(scene, "en") and "粉色" in tell(scene, "zh")
    assert mark("", scene, "en") == []


def test_systems_are_compared_word_by_word(gallery):
    class Says:
        def __init__(self, words):
            self.words = words

        def describe(self, pictures, question):
            return [self.words]

    scene = gallery[0].scene
    chat = Chat(Models(find_offers(load_profile("tiny"), "nowhere", others={"Knows": Says(tell(scene, "en")), "<b>Lies</b>": Says("Nine <i>purple</i> elephants.")})), gallery,
                chosen=("Knows", "<b>Lies</b>"))
    chat.ask("What?")
    chat.wait()
    chat.upload(png(Image.new("RGB", (64, 64), "red")), "mine.png")
    chat.ask("What?")
    chat.wait()
    knows, lies = judge(chat.conversation, chat.gallery)
    assert (knows.label, knows.wrong, knows.missed) == ("Knows", 0, 0) and knows.right >= 1
    assert (lies.right, lies.wrong, lies.missed) == (0, 1, len(scene.groups))
    table = judged_table([knows, lies])
    assert table.count("<img") == 1 and "elephants</del> <small>(there is none)" in table
    assert "<b>" not in table and "<i>" not in table and "&lt;b&gt;Lies" in table
    chat.close()


def test_the_likeliest_words_are_those_of_generate(folder, tmp_path):
    student, picture = load_student(STUDENT, device="cpu"), render(plan_scene(1))
    steps = likeliest(student, picture, [Turn("user", QUESTION)], top=3, max_new_tokens=12)
    assert " ".join(step.token for step in steps if step.token != END) == student.describe([picture], QUESTION, max_new_tokens=12)[0]
    for step in steps:
        assert step.candidates[0][0] == step.token and 0.9 < sum(share for _, share in step.candidates) + 0.2
        assert [share for _, share in step.candidates] == sorted((share for _, share in step.candidates), reverse=True)
    assert Step("a", [("a", 0.5), ("b", 0.5)]).entropy == 1
    drawn = [text.get_text() for text in steps_figure([Step("red", [("red", 0.75), ("blue", 0.25), ("green", 0.001)])]).axes[0].texts]
    assert drawn == ["red\n75%", "blue\n25%"]
    bars = [bar.get_height() for bar in temperature_figure([("a", 0.8), ("b", 0.2)], (0.5, 1, 2)).axes[0].patches]
    assert bars == pytest.approx([16 / 17, 1 / 17, 0.8, 0.2, 2 / 3, 1 / 3])
    with pytest.raises(InputError):
        steps_figure([])
    with pytest.raises(InputError):
        temperature_figure([("a", 1.0)], (0,))


def test_truth_is_shown_on_request_and_of_drawn_scenes_alone(chat):
    chat.ask(QUESTION)
    chat.wait()
    assert chat.log.sent[-1][0]["exchange"]["can_truth"] and not chat.log.sent[-1][0]["exchange"]["truth"]
    chat.log.receive({"kind": "truth", "index": 0})
    assert chat.log.sent[-1][0]["exchange"]["truth"] == tell(chat.gallery["scene-0000"].scene, "en")
    chat.show_truth(0)
    assert not chat.log.sent[-1][0]["exchange"]["truth"]
    chat.upload(png(Image.new("RGB", (64, 64), "red")), "mine.png")
    chat.ask(QUESTION)
    chat.wait()
    sent = len(chat.log.sent)
    chat.show_truth(1)
    assert len(chat.log.sent) == sent and not chat._view(1)["can_truth"]


@pytest.mark.parametrize("evil", EVIL)
def test_text_of_people_and_models_stays_text(gallery, evil):
    class Parrot:
        def describe(self, pictures, question):
            return [question]

    chat = chat_with(OwnSystem(Parrot()), gallery)
    chat.ask(evil)
    assert chat.wait().answers[0].text == evil
    view = chat._view(0)
    assert view["question"] == view["answers"][0]["text"] == evil  # chat_log.js sets both with textContent
    markdown = chat.conversation.to_markdown("title")
    html = MarkdownIt("commonmark").render(markdown)
    assert "<script" not in html and "onerror=\"" not in html.replace("&quot;", '"').split("<img")[0] and "href" not in html and "<strong>bold" not in html
    assert unescape(html).count(evil) == 2
    chat.upload(png(Image.new("RGB", (64, 64))), evil)
    assert chat.panel.name == evil


def test_no_script_of_ours_writes_html():
    from helpers.core.chat_parts import HERE

    scripts = sorted(HERE.glob("chat_*.js"))
    assert len(scripts) == 3
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert not [word for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:", "https:") if word in text], script.name


def test_a_saved_conversation_has_everything_in_it(chat, tmp_path):
    chat.ask(QUESTION)
    chat.wait()
    chat.choose("scene-0001")
    chat.ask("图片里有什么？")
    chat.wait()
    chat.save_button.click()
    message, buffers = chat.log.sent[-1]
    assert message["kind"] == "file" and message["name"].endswith(".zip")
    with zipfile.ZipFile(io.BytesIO(buffers[0])) as archive:
        record = json.loads(archive.read("conversation.json"))
        markdown = archive.read("conversation.md").decode()
        assert [exchange["question"] for exchange in record["exchanges"]] == [QUESTION, "图片里有什么？"]
        for exchange, shown in zip(record["exchanges"], chat.conversation.exchanges):
            assert archive.read(exchange["picture"]) == chat.conversation.pictures[shown.picture].jpeg and exchange["picture"] in markdown
            assert exchange["answers"][0]["text"] == shown.answers[0].text and exchange["decoding"]["mode"] == BEAM
    assert "图片里有什么？" in markdown
    assert zipfile.ZipFile(chat.save(tmp_path / "talk.zip")).namelist()[:2] == ["conversation.json", "conversation.md"]


def test_markdown_of_many_lines_stays_one_quote():
    assert as_typed("a\nb") == "a\\\n> b"
    assert as_typed("1. <b>") == "1\\. &lt;b&gt;"


def test_cutting_forgets_pictures_that_nothing_is_about():
    from helpers.core.chat_turns import Exchange

    talk = Conversation()
    for number in range(3):
        shown = Shown.of(f"{number}", bytes([number]))
        talk.add(Exchange(shown.key, "?", "en", {}), shown)
    talk.cut(1)
    assert [shown.name for shown in talk.pictures.values()] == ["0"]


# ---- faults ---------------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_and_nothing_is_asked(chat, models):
    for question, notice in [("  ", "no_question"), ("x" * (MAX_QUESTION + 1), "question_long")]:
        assert not chat.ask(question) and chat.composer.notice == words("en")[notice].format(most=MAX_QUESTION)
    chat.use()
    assert not chat.ask(QUESTION) and chat.composer.notice == words("en")["no_model"]
    chat.use("pretrained")
    chat.picture = None
    assert not chat.ask(QUESTION) and chat.composer.notice == words("en")["no_picture"]
    assert not chat.conversation.exchanges and not chat.busy
    with pytest.raises(InputError):
        chat.choose("nothing")


@pytest.mark.parametrize("error, says", [
    (RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."), "Memory ran out"),
    (MemoryError(), "Memory ran out"),
    (torch.OutOfMemoryError("CUDA out of memory."), "Memory ran out"),
    (RuntimeError("shapes differ\nand more"), "RuntimeError: shapes differ"),
])
def test_a_generation_that_fails_leaves_the_chat_usable(chat, models, monkeypatch, capfd, error, says):
    models.wait()
    model = models.get("pretrained").base.student.model
    inside = model.base_model.model if hasattr(model, "peft_config") else model
    real, calls = inside.forward, []

    def fails(*args, **more):
        calls.append(1)
        if len(calls) > 2:
            raise error
        return real(*args, **more)

    monkeypatch.setattr(inside, "forward", fails)
    chat.ask(QUESTION)
    answer = chat.wait().answers[0]
    assert answer.state == FAILED and says in answer.why and not chat.busy
    assert "Traceback" not in capfd.readouterr().err, "a notebook would show it in whatever cell ran last"
    monkeypatch.undo()
    assert chat.ask(QUESTION) and chat.wait().answers[0].state in (COMPLETE, CUT)
    assert [turn.content for turn in chat.conversation.memory(chat.wait(), "pretrained")] == [QUESTION], "what failed is not remembered"


def test_messages_that_no_page_of_ours_sends_do_nothing(chat):
    for message in ({}, {"kind": "again", "index": "0"}, {"kind": "edit", "index": 99}, {"kind": "truth", "index": True}, {"kind": "run", "code": "1"}):
        chat.log.receive(message)
        chat.composer.receive(message)
        chat.panel.receive(message, [])
    assert not chat.conversation.exchanges and chat.composer.editing == -1
    for part in (PicturePanel(), Log(), Composer()):
        assert part._esm and "export default" in str(part._esm)


def test_the_notebook_keeps_no_dead_interface():
    notebook = json.loads((ROOT / "notebooks" / "06_chat.ipynb").read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"], "execute it with --ExecutePreprocessor.store_widget_state=False: the chat's state is large, and of no use without a kernel"


def test_open_chat_finds_what_this_machine_has(folder, tmp_path):
    chat = open_chat(load_profile("tiny"), folder / "results", scenes=2, chosen=())
    assert list(chat.models.offers) == ["pretrained", "lora", "full", "baseline", "teacher"]
    assert chat.boxes.boxes["full"].disabled and not chat.boxes.boxes["lora"].disabled
    assert sum(key.startswith("scene-") for key in chat.gallery) == 2 and any(key.startswith("photo-") for key in chat.gallery)
    assert chat.panel.preview.startswith("data:image/jpeg;base64,") and chat.models.memory() == {}
    chat.close()
    own = gallery_of_files([folder / "scenes" / "Val" / "0000.jpg"])
    assert own[0].title["zh"] == "0000.jpg"
    assert isinstance(StudentSystem(Base(str(STUDENT)), None).nbytes, int)
