"""The chat as a web page, in a real browser against a real server: what a visitor does, and what a visitor might try."""

import io
import os
import zlib

import pytest
from chat_page import SLOW, SOON, visit, watch_growth
from PIL import Image, ImageDraw
from playwright.sync_api import expect

ATTACKS = ["<script>window.hacked = 1; alert(1)</script>", '<img src="x" onerror="window.hacked = 1">', r"$\alpha^2$ and \(x^2\) and $$\sum_i x_i$$ and \[y\]",
           "**bold** _it_ `code` # title\n- list\n[link](javascript:window.hacked=1)", '"><svg onload="window.hacked=1">', "</textarea><iframe src='javascript:parent.hacked=1'></iframe>",
           "{{7*7}} ${7*7} &lt;b&gt; &amp;", "x" * 500]


@pytest.fixture(scope="module")
def shared(browser, chat_server):
    """One page for all tests that do not need one of their own."""
    with visit(browser, chat_server.url, viewport={"width": 1280, "height": 1000}) as chat:
        chat.page.requests_elsewhere = []
        chat.page.on("response", lambda response: None if response.url.startswith((chat_server.url, "data:", "blob:")) else chat.page.requests_elsewhere.append(response.url))
        chat.page.reload(timeout=SLOW, wait_until="commit")  # now that somebody watches what it loads
        yield chat.ready()


@pytest.fixture
def chat(shared):
    shared.clear()
    yield shared
    shared.stop_button.evaluate("button => button.click()")  # does nothing where there is nothing to stop
    shared.wait()
    shared.speak("English")
    expect(shared.ask_button).to_have_text("Ask", timeout=SOON)


def test_words_come_one_by_one_and_stop_when_told(chat, screenshots):
    chat.use("Slow")
    place = chat.field.bounding_box()
    exchange = chat.ask("What is this?")
    seen = watch_growth(exchange, 4)
    assert all(later.startswith(sooner) and len(later) > len(sooner) for sooner, later in zip(seen, seen[1:]))
    assert chat.field.bounding_box() == place  # nothing jumps while the answer grows
    chat.page.screenshot(path=screenshots / "voila-streaming.png")
    expect(chat.ask_button).to_be_disabled()
    chat.stop_button.click()
    chat.wait()
    stopped = chat.answers(exchange)["Slow"]
    assert exchange.locator(".captionlab-answer").get_attribute("data-state") == "stopped" and "word399" not in stopped and len(stopped) >= len(seen[-1])
    exchange.locator(".captionlab-again").click()  # from the beginning
    expect(chat.stop_button).to_be_enabled(timeout=SOON)
    assert watch_growth(chat.exchanges.last, 1)[0].startswith("word0") and chat.exchanges.count() == 1
    chat.stop_button.click()


def test_two_clicks_ask_once(chat):
    chat.use("Slow")
    chat.field.fill("once")
    chat.ask_button.dblclick()
    chat.field.press("Enter")
    expect(chat.exchanges).to_have_count(1, timeout=SOON)
    watch_growth(chat.exchanges.first, 2)
    assert chat.exchanges.count() == 1


def test_the_student_and_the_stand_in_answer_side_by_side_and_can_be_switched(chat, screenshots):
    chat.use("Pretrained", "Offline stand-in, not Qwen-VL")
    chat.root.locator(".captionlab-chip").first.click()  # a question of the course's own
    exchange = chat.ask(chat.field.input_value())
    chat.wait()
    answers = chat.answers(exchange)
    assert list(answers) == ["Pretrained", "Offline stand-in, not Qwen-VL"] and all(len(words.split()) > 2 for words in answers.values()), answers
    badge = exchange.locator("[data-system=pretrained] .captionlab-badge").inner_text()
    assert "tokens/s" in badge and badge.split()[0].isdigit()
    boxes = [box.bounding_box() for box in exchange.locator(".captionlab-answer").all()]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    exchange.locator(".captionlab-show-truth").click()
    expect(exchange.locator(".captionlab-truth")).to_be_visible(timeout=SOON)
    chat.page.screenshot(path=screenshots / "voila-side-by-side.png", full_page=True)
    chat.use("Parrot")
    chat.ask("polly")
    chat.wait()
    assert chat.answers(chat.exchanges.last) == {"Parrot": "polly"}


def test_every_word_of_the_interface_changes_its_language(chat, screenshots):
    before = chat.root.inner_text()
    chat.speak("中文")
    expect(chat.ask_button).to_have_text("提问", timeout=SOON)
    chat.page.screenshot(path=screenshots / "voila-chinese.png", full_page=True)
    after = chat.root.inner_text()
    same = {line for line in before.splitlines() if line.strip()} & set(after.splitlines())
    assert same <= {"English中文", "English", "中文", "LoRA", "Slow", "Parrot", "Top-p", "Top-k"} | {line for line in same if not any(letter.isalpha() for letter in line)}, same
    chat.use("预训练")
    chat.root.locator(".captionlab-chip").first.click()
    chat.ask_button.click()
    expect(chat.exchanges).to_have_count(1, timeout=SOON)
    chat.wait()
    words = next(iter(chat.answers(chat.exchanges.first).values()))
    assert any("一" <= letter <= "鿿" for letter in words), words


def test_enter_sends_and_shift_enter_begins_a_new_line(chat):
    chat.use("Parrot")
    chat.field.fill("")
    chat.field.press_sequentially("one")
    chat.field.press("Shift+Enter")
    chat.field.press_sequentially("two")
    assert chat.field.input_value() == "one\ntwo" and chat.exchanges.count() == 0
    chat.field.press("Enter")
    expect(chat.exchanges).to_have_count(1, timeout=SOON)
    assert chat.exchanges.first.locator(".captionlab-question-text").inner_text() == "one\ntwo"


def test_what_is_typed_and_answered_appears_as_typed(chat, screenshots):
    chat.use("Parrot")
    for attack in ATTACKS:
        exchange = chat.ask(attack)
        expect(exchange.locator(".captionlab-answer")).to_have_attribute("data-state", "complete", timeout=SOON)
        for part in (".captionlab-question-text", ".captionlab-text"):
            assert exchange.locator(part).evaluate("element => element.textContent") == attack
            assert exchange.locator(f"{part} *").count() == 0
        chat.wait()
    assert chat.page.evaluate("window.hacked") is None and chat.dialogs == []
    assert chat.root.locator("mjx-container, .MathJax, iframe, script").count() == 0
    chat.page.screenshot(path=screenshots / "voila-injection.png", full_page=True)
    chat.page.wait_for_timeout(500)
    _, record, markdown, _ = chat.save()
    assert [exchange["question"] for exchange in record["exchanges"]] == ATTACKS and "<script>" not in markdown and "<img" not in markdown


def picture(kind: str, size=(320, 240), mode="RGB", **options) -> bytes:
    """A picture file with a shape in it."""
    image = Image.new(mode, size, (200, 60, 60, 0)[:len(Image.new(mode, (1, 1)).getbands())] if mode != "L" else 90)
    ImageDraw.Draw(image).rectangle((20, 20, 120, 90), fill=(10, 120, 220, 40)[:len(image.getbands())] if mode != "L" else 200)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 30000 × 30000 pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (30000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def test_pictures_are_taken_or_refused_with_a_sentence(chat, screenshots):
    turned = Image.Exif()
    turned[0x0112] = 6
    noise = io.BytesIO()
    Image.frombytes("RGB", (2600, 2660), os.urandom(3 * 2600 * 2660)).save(noise, "PNG", compress_level=0)
    assert 19 * 2**20 < len(noise.getvalue()) < 20 * 2**20  # just under the limit, and nothing to compress in it
    taken = {"mine.png": (picture("PNG"), ""), "large.png": (noise.getvalue(), "scaled down"), "print.jpg": (picture("JPEG", mode="CMYK"), "CMYK"), "phone.jpg": (picture("JPEG", exif=turned), "upright"),
             "moving.gif": (picture("GIF", mode="L", save_all=True, append_images=[Image.new("L", (320, 240), 5)]), "first frame"),
             '<img src=x onerror="window.hacked=1">.png': (picture("PNG"), "")}
    refused = {"drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>window.hacked=1</script></svg>", "paper.jpg": b"%PDF-1.7\n" + bytes(200),
               "cut.png": picture("PNG")[:300], "empty.png": b"", "huge.png": bytes(20 * 2**20 + 1), "bomb.png": bomb(), "words.jpg": b"/etc/passwd"}
    for name, (data, note) in taken.items():
        said, shown = chat.send_file(name, data), chat.root.locator(".captionlab-picture-name")
        expect(shown).to_have_text(name, timeout=SOON)
        assert note in said, (name, said)
    before = chat.preview()
    for name, data in refused.items():
        said = chat.send_file(name, data)
        assert name in said and said.endswith((".", ".")) and len(said) < 160, (name, said)
        assert chat.preview() == before, name
    chat.page.screenshot(path=screenshots / "voila-refused.png")
    assert chat.page.evaluate("window.hacked") is None and chat.dialogs == []
    chat.use("Pretrained")
    chat.ask("What is in the picture?")
    chat.wait()
    assert chat.exchanges.first.locator(".captionlab-answer").get_attribute("data-state") in ("complete", "cut")


def test_a_conversation_is_saved_and_read_back(chat):
    chat.use("Parrot")
    chat.root.locator(".captionlab-thumb").nth(1).click()
    for question in ("first?", "第二个？"):
        chat.ask(question)
        chat.wait()
    download, record, markdown, files = chat.save()
    assert download.suggested_filename.endswith(".zip")
    assert [(exchange["question"], exchange["answers"][0]["text"]) for exchange in record["exchanges"]] == [("first?", "first?"), ("第二个？", "第二个？")]
    assert "第二个" in markdown
    for exchange in record["exchanges"]:
        with Image.open(io.BytesIO(files[exchange["picture"]])) as saved:
            assert saved.size[0] > 16


def test_nothing_is_loaded_from_elsewhere(shared):
    assert shared.page.requests_elsewhere == []
