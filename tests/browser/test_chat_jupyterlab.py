"""The notebook of the chat in JupyterLab itself: its cells run from the menu, its widget used as a student uses it."""

import io
import re
import zlib

import nbformat
import psutil
import pytest
from chat_page import SLOW, SOON, ChatPage, watch_growth
from chat_results import make_results
from jupyterlab import JupyterLab, LabNotebook
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from helpers.core.paths import ROOT

NOTEBOOK = "06_chat.ipynb"
OPENS = "chat = open_chat()"
# What the tests add to the course's systems: one that can be watched and stopped, one whose words are the visitor's, one that fails.
SYSTEMS = '''
import time

class Counter:
    def stream(self, picture, question):
        for number in range(int(question) if question.isdigit() else 3):
            time.sleep(0.05)
            yield f"word{number} "

class Parrot:
    def describe(self, pictures, question):
        return [question]

class Faulty:
    def describe(self, pictures, question):
        if "fail" in question:
            raise MemoryError
        return ["nothing"]
'''
ADDED = 'chat = open_chat(results={results!r}, others={{"Counter": Counter(), "Parrot": Parrot(), "Faulty": Faulty()}})'
STAND_IN = "Offline stand-in, not Qwen-VL"
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
ATTACKS = ["<script>window.hacked = 1; alert(1)</script>", '<img src="x" onerror="window.hacked = 1">', r"$\alpha^2$ and \(x^2\) and $$\sum_i x_i$$ and \[y\]",
           "**bold** _it_ `code` # title\n- list\n[link](javascript:window.hacked=1)", '"><svg onload="window.hacked=1">', "</textarea><iframe src='javascript:parent.hacked=1'></iframe>"]


@pytest.fixture(scope="module")
def flags(flags):
    """Of a browser with a camera that films a test card."""
    return [*flags, *CAMERA]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, chromium):
    """JupyterLab on a copy of the notebook, whose chat has the tests' systems as well; nothing is stored in its cells yet."""
    notebooks, own = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyterlab")
    copy = nbformat.read(ROOT / "notebooks" / NOTEBOOK, as_version=4)
    opening = [cell for cell in copy.cells if cell.cell_type == "code" and OPENS in cell.source]
    assert len(opening) == 1
    results = make_results(tmp_path_factory.mktemp("results"))
    opening[0].source = SYSTEMS + opening[0].source.replace(OPENS, ADDED.format(results=str(results)))
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(copy, notebooks / NOTEBOOK)
    lab = JupyterLab(notebooks, own)
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """The notebook in JupyterLab, not yet run."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.elsewhere = []
    page.on("request", lambda request: None if request.url.startswith((lab.url, lab.url.replace("http", "ws"), "data:", "blob:", "attachment:")) else page.elsewhere.append(request.url))
    yield LabNotebook(page, lab, NOTEBOOK)
    page.close()


@pytest.fixture(scope="module")
def ran(notebook):
    """The notebook as it was saved after Run → Run All Cells."""
    return notebook.run_all()


@pytest.fixture(scope="module")
def shared(notebook, ran):
    """Its chat: one page and one kernel for all tests."""
    return ChatPage(notebook.page).ready()


@pytest.fixture
def chat(shared):
    shared.clear()
    yield shared
    shared.stop_button.evaluate("button => button.click()")  # does nothing where there is nothing to stop
    shared.wait()
    shared.speak("English")
    expect(shared.ask_button).to_have_text("Ask", timeout=SOON)


def test_every_cell_runs(ran, notebook, screenshots):
    cells = [cell for cell in ran.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert cell.outputs and not [output for output in cell.outputs if output.output_type == "error"], cell.source
        assert not [output.text for output in cell.outputs if output.get("name") == "stderr"], cell.source


def test_words_come_one_by_one_and_stop_when_told(chat, screenshots):
    chat.use("Counter")
    chat.field.scroll_into_view_if_needed()
    parts = [chat.field, chat.ask_button, chat.root.locator(".captionlab-log"), chat.root.locator(".captionlab-settings")]
    places = [part.bounding_box() for part in parts]
    exchange = chat.ask("400")
    seen = watch_growth(exchange, 4)
    assert all(later.startswith(sooner) and len(later) > len(sooner) for sooner, later in zip(seen, seen[1:]))
    assert [part.bounding_box() for part in parts] == places, "nothing jumps while the answer grows"
    chat.page.screenshot(path=screenshots / "jupyterlab-streaming.png")
    expect(chat.ask_button).to_be_disabled()
    chat.stop_button.click()
    chat.wait()
    stopped = chat.answers(exchange)["Counter"]
    assert exchange.locator(".captionlab-answer").get_attribute("data-state") == "stopped" and "word399" not in stopped and len(stopped) >= len(seen[-1])
    exchange.locator(".captionlab-again").click()
    expect(chat.stop_button).to_be_enabled(timeout=SOON)
    assert watch_growth(chat.exchanges.last, 1)[0].startswith("word0") and chat.exchanges.count() == 1, "from the beginning"


def test_two_clicks_ask_once(chat):
    chat.use("Counter")
    chat.field.fill("100")
    chat.ask_button.dblclick()
    chat.field.press("Enter")
    expect(chat.exchanges).to_have_count(1, timeout=SOON)
    watch_growth(chat.exchanges.first, 2)
    assert chat.exchanges.count() == 1


def test_keys_are_the_chats_and_not_jupyterlabs(chat, notebook):
    chat.use("Parrot")
    cells = notebook.page.locator(".jp-Cell").count()
    chat.field.fill("")
    chat.field.press_sequentially("add b")  # in JupyterLab's command mode: a new cell above, one deleted, one below
    chat.field.press("Shift+Enter")
    chat.field.press_sequentially("two")
    assert chat.field.input_value() == "add b\ntwo" and chat.exchanges.count() == 0
    chat.field.press("Enter")
    expect(chat.exchanges).to_have_count(1, timeout=SOON)
    assert chat.exchanges.first.locator(".captionlab-question-text").inner_text() == "add b\ntwo"
    chat.wait()
    thumb = chat.root.locator(".captionlab-thumb").nth(3)
    thumb.focus()
    for key in ("a", "d", "d", "Enter"):
        notebook.page.keyboard.press(key)
    expect(thumb).to_have_attribute("aria-pressed", "true", timeout=SOON)
    chat.exchanges.first.locator(".captionlab-edit").focus()
    notebook.page.keyboard.press("Enter")
    expect(chat.field).to_be_focused(timeout=SOON)
    chat.root.locator(".captionlab-edit-cancel").click()
    assert notebook.page.locator(".jp-Cell").count() == cells


def test_a_picture_is_chosen_asked_about_twice_and_a_question_edited(chat, notebook):
    chat.use("Pretrained")
    thumbs = chat.root.locator(".captionlab-thumb")
    for number in (2, 1):
        before = chat.preview()
        thumbs.nth(number).click()
        expect(chat.root.locator(".captionlab-preview img")).not_to_have_attribute("src", before, timeout=SOON)
    expect(chat.root.locator(".captionlab-picture-name")).to_have_text("Drawn scene 2")
    chat.root.locator(".captionlab-chip").first.click()
    first = chat.ask(chat.field.input_value())
    chat.wait()
    chat.ask("What colour is it?")
    chat.wait()
    answers = [chat.answers(exchange)["Pretrained"] for exchange in chat.exchanges.all()]
    assert all(answers) and answers[0] != answers[1]
    asked = [exchange.locator(".captionlab-question-text").inner_text() for exchange in chat.exchanges.all()]
    read = notebook.value("[turn.content for turn in chat.conversation.memory(chat.conversation.exchanges[1], 'pretrained')]")
    assert read == [asked[0], answers[0], asked[1]], "the second answer was given with the first turn in mind"
    assert "tokens/s" in first.locator(".captionlab-badge").inner_text()
    thumbs.nth(4).click()
    expect(chat.root.locator(".captionlab-picture-name")).to_have_text("Drawn scene 5", timeout=SOON)
    first.locator(".captionlab-edit").click()
    expect(chat.root.locator(".captionlab-editing")).to_be_visible(timeout=SOON)
    chat.field.fill("Is there a dog?")
    chat.field.press("Enter")
    expect(chat.exchanges).to_have_count(1, timeout=SOON)
    chat.wait()
    assert chat.exchanges.first.locator(".captionlab-question-text").inner_text() == "Is there a dog?"
    assert chat.exchanges.first.locator(".captionlab-question img").get_attribute("alt") == "Drawn scene 2", "an edited question keeps its picture"


def test_systems_side_by_side_and_what_they_hold_in_memory(chat, screenshots):
    chat.use("Pretrained", "LoRA", STAND_IN)
    note = {label: chat.root.locator(".captionlab-model").filter(has_text=label).locator(".captionlab-note") for label in ("Pretrained", "LoRA", "Full", "CNN-RNN", STAND_IN)}
    expect(note["LoRA"]).to_have_text(re.compile(r"in memory: \d+\.\d MiB"), timeout=SLOW)
    expect(note["Pretrained"]).to_have_text(re.compile(r"in memory: 2\d\.\d MiB"), timeout=SLOW)
    expect(note[STAND_IN]).to_have_text(re.compile("no weights here"), timeout=SLOW)
    for label in ("Full", "CNN-RNN"):
        assert "not trained yet: run captionlab course" in note[label].inner_text()
    exchange = chat.ask("Describe the picture.")
    chat.wait()
    answers = chat.answers(exchange)
    assert list(answers) == ["Pretrained", "LoRA", STAND_IN] and answers["Pretrained"] != answers["LoRA"] and all(answers.values())
    boxes = [box.bounding_box() for box in exchange.locator(".captionlab-answer").all()]
    assert len({box["y"] for box in boxes}) == 1 and all(left["x"] + left["width"] <= right["x"] for left, right in zip(boxes, boxes[1:]))
    for badge in exchange.locator(".captionlab-badge").all():
        assert re.fullmatch(r"\d+ tokens · \d+\.\d s · \d+ tokens/s", badge.inner_text())
    chat.page.screenshot(path=screenshots / "jupyterlab-side-by-side.png")
    chat.use("LoRA")
    expect(note["Pretrained"]).to_have_text(re.compile("not loaded"), timeout=SLOW)
    chat.clear()
    exchange = chat.ask("Describe the picture.")
    chat.wait()
    assert chat.answers(exchange) == {"LoRA": answers["LoRA"]}


def test_a_failing_answer_is_a_sentence_and_the_next_question_is_answered(chat, notebook):
    outputs = notebook.page.locator(".jp-OutputArea-output").count()
    chat.use("Faulty", "Parrot")
    exchange = chat.ask("Will it fail?")
    chat.wait()
    assert [box.get_attribute("data-state") for box in exchange.locator(".captionlab-answer").all()] == ["complete", "failed"]
    assert exchange.locator(".captionlab-why").last.inner_text().startswith("Memory ran out")
    chat.use("Pretrained")
    chat.ask("What is in the picture?")
    chat.wait()
    assert chat.answers(chat.exchanges.last)["Pretrained"]
    assert notebook.page.locator(".jp-OutputArea-output").count() == outputs, "no traceback in the notebook"


def test_every_word_of_the_interface_changes_its_language(chat, screenshots):
    chat.root.locator(".captionlab-fold-decoding").click()
    before = chat.root.inner_text()
    chat.speak("中文")
    expect(chat.ask_button).to_have_text("提问", timeout=SOON)
    expect(chat.root.locator(".captionlab-picture-name")).to_have_text(re.compile("绘制场景"), timeout=SOON)
    chat.page.screenshot(path=screenshots / "jupyterlab-chinese.png")
    after = chat.root.inner_text()
    same = {line for line in before.splitlines() if re.search("[A-Za-z]", line)} & set(after.splitlines())
    assert same <= {"English中文", "English", "LoRA", "Counter", "Parrot", "Faulty", "Top-p", "Top-k"}, same
    chat.use("预训练")
    chat.root.locator(".captionlab-chip").first.click()
    exchange = chat.ask(chat.field.input_value())
    chat.wait()
    assert re.search("[一-鿿]", chat.answers(exchange)["预训练"])
    chat.root.locator(".captionlab-fold-decoding").click()


def test_sampling_has_its_own_sliders_and_the_next_seed_when_asked_again(chat):
    chat.use("Pretrained")
    fold = chat.root.locator(".captionlab-fold-decoding")
    fold.click()
    knob = {name: chat.root.locator(".captionlab-knob").filter(has_text=name) for name in ("Beams", "Temperature", "Top-p", "Top-k", "Repetition penalty", "Length", "Seed")}
    expect(knob["Beams"]).to_be_visible(timeout=SOON)
    expect(knob["Temperature"]).to_be_hidden()
    chat.root.locator(".captionlab-mode").get_by_text("Sampling", exact=True).click()
    for name in ("Temperature", "Top-p", "Top-k", "Repetition penalty", "Length", "Seed"):
        expect(knob[name]).to_be_visible(timeout=SOON)
    expect(knob["Beams"]).to_be_hidden()
    seed = knob["Seed"].locator("input")
    before = int(seed.input_value())
    exchange = chat.ask("Describe the picture.")
    chat.wait()
    exchange.locator(".captionlab-again").click()
    expect(seed).to_have_value(str(before + 1), timeout=SOON)
    chat.wait()
    chat.root.locator(".captionlab-mode").get_by_text("Beam search", exact=True).click()
    expect(knob["Temperature"]).to_be_hidden(timeout=SOON)
    fold.click()


def test_the_truth_marks_right_and_wrong_words(chat, screenshots):
    chat.use("Parrot")
    chat.root.locator(".captionlab-thumb").first.click()
    expect(chat.root.locator(".captionlab-picture-name")).to_have_text("Drawn scene 1", timeout=SOON)
    exchange = chat.ask("A white truck and two purple dogs stand on a farm.")
    chat.wait()
    expect(exchange.locator("mark")).to_have_count(0)
    exchange.locator(".captionlab-show-truth").click()
    expect(exchange.locator(".captionlab-truth")).to_contain_text("truck", timeout=SOON)
    assert exchange.locator("mark.captionlab-right").all_inner_texts() == ["white", "truck"]
    assert exchange.locator("mark.captionlab-wrong").all_inner_texts() == ["dogs"]
    assert exchange.locator(".captionlab-faults").inner_text() == "wrong: dogs (there is none)"
    expect(exchange.locator(".captionlab-show-truth")).to_be_focused()
    chat.page.screenshot(path=screenshots / "jupyterlab-truth.png")
    exchange.locator(".captionlab-show-truth").click()
    expect(exchange.locator("mark")).to_have_count(0, timeout=SOON)


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
    chat.page.screenshot(path=screenshots / "jupyterlab-injection.png")
    _, record, markdown, _ = chat.save()
    assert [exchange["question"] for exchange in record["exchanges"]] == ATTACKS and "<script>" not in markdown and "<img" not in markdown


def picture(kind: str, size=(320, 240), mode="RGB", **options) -> bytes:
    """A picture file with a shape in it."""
    image = Image.new("RGB", size, "firebrick")
    ImageDraw.Draw(image).rectangle((20, 20, 120, 90), fill="dodgerblue")
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 30000 × 30000 pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (30000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def test_uploads_are_taken_or_refused_with_a_sentence(chat, screenshots):
    turned = Image.Exif()
    turned[0x0112] = 6
    taken = {"mine.png": (picture("PNG"), ""), "large.png": (picture("PNG", (2000, 1500)), "scaled down"), "print.jpg": (picture("JPEG", mode="CMYK"), "CMYK"),
             "phone.jpg": (picture("JPEG", exif=turned), "upright"), "moving.gif": (picture("GIF", save_all=True, append_images=[Image.new("RGB", (320, 240))]), "first frame"),
             '<img src=x onerror="window.hacked=1">.png': (picture("PNG", (300, 200)), "")}
    refused = {"drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>window.hacked=1</script></svg>", "paper.jpg": b"%PDF-1.7\n" + bytes(200),
               "cut.png": picture("PNG")[:300], "empty.png": b"", "huge.png": bytes(20 * 2**20 + 1), "bomb.png": bomb()}
    for name, (data, note) in taken.items():
        said = chat.send_file(name, data)
        expect(chat.root.locator(".captionlab-picture-name")).to_have_text(name, timeout=SOON)
        assert note in said, (name, said)
    before = chat.preview()
    for name, data in refused.items():
        said = chat.send_file(name, data)
        assert name in said and said.endswith(".") and len(said) < 160, (name, said)
        assert chat.preview() == before, name
    chat.page.screenshot(path=screenshots / "jupyterlab-refused.png")
    assert chat.page.evaluate("window.hacked") is None and chat.dialogs == []
    chat.use("Pretrained")
    exchange = chat.ask("What is in the picture?")
    chat.wait()
    assert exchange.locator(".captionlab-answer").get_attribute("data-state") == "complete"


def test_a_picture_can_be_dropped(chat):
    carried = chat.page.evaluate_handle("""bytes => { const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" })); return carried; }""", list(picture("PNG")))
    panel = chat.root.locator(".captionlab-drop")
    panel.dispatch_event("dragover", {"dataTransfer": carried})
    expect(panel).to_have_class(re.compile("captionlab-over"))
    panel.dispatch_event("drop", {"dataTransfer": carried})
    expect(chat.root.locator(".captionlab-picture-name")).to_have_text("dropped.png", timeout=SOON)
    expect(panel).not_to_have_class(re.compile("captionlab-over"))


def test_the_camera_takes_a_picture(chat, screenshots):
    camera, snap = chat.root.locator(".captionlab-camera"), chat.root.locator(".captionlab-snap")
    expect(snap).to_be_hidden()
    camera.click()
    chat.page.wait_for_function("video => video.videoWidth > 0", arg=chat.root.locator("video").element_handle(), timeout=SOON)
    chat.page.screenshot(path=screenshots / "jupyterlab-camera.png")
    snap.click()
    expect(chat.root.locator(".captionlab-picture-name")).to_have_text("camera.jpg", timeout=SOON)
    expect(chat.root.locator("video")).to_be_hidden()
    assert chat.root.locator("video").evaluate("video => video.srcObject") is None, "the camera is off again"
    expect(camera).to_be_visible()


def test_a_conversation_is_saved_with_its_pictures(chat):
    chat.use("Parrot")
    chat.root.locator(".captionlab-thumb").nth(1).click()
    for question in ("first?", "第二个？"):
        chat.ask(question)
        chat.wait()
    download, record, markdown, files = chat.save()
    assert download.suggested_filename.endswith(".zip")
    assert [(exchange["question"], exchange["answers"][0]["text"]) for exchange in record["exchanges"]] == [("first?", "first?"), ("第二个？", "第二个？")]
    assert "第二个" in markdown and f"]({record['exchanges'][0]['picture']})" in markdown
    for exchange in record["exchanges"]:
        with Image.open(io.BytesIO(files[exchange["picture"]])) as saved:
            assert saved.size == (224, 224)


LEGIBLE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_both_themes_are_legible_and_every_control_has_a_name(chat, notebook, screenshots, theme):
    from axe_playwright_python.sync_playwright import Axe

    notebook.theme(theme)
    notebook.page.add_style_tag(content="body { min-height: 100vh }")  # else axe-core takes all text for hidden: JupyterLab's body has no height
    chat.use("Pretrained", "Parrot", "Faulty")
    chat.root.locator(".captionlab-thumb").first.click()
    exchange = chat.ask("A white truck and two purple dogs fail on a farm")
    chat.wait()
    exchange.locator(".captionlab-show-truth").click()
    expect(exchange.locator("mark.captionlab-wrong").first).to_be_visible(timeout=SOON)
    chat.root.locator(".captionlab-fold-decoding").click()
    expect(chat.root.locator(".captionlab-knobs")).to_be_visible(timeout=SOON)
    wide = notebook.page.viewport_size
    notebook.page.set_viewport_size({"width": 1440, "height": 1700})
    chat.exchanges.first.scroll_into_view_if_needed()
    notebook.page.screenshot(path=screenshots / f"jupyterlab-{theme.split()[1].lower()}.png")
    found = Axe().run(notebook.page, context=".captionlab-chat", options=LEGIBLE).response
    chat.root.locator(".captionlab-fold-decoding").click()
    notebook.page.set_viewport_size(wide)
    notebook.theme("JupyterLab Light")
    assert [(fault["id"], [(node["html"][:160], node["any"][0]["message"] if node["any"] else "") for node in fault["nodes"]]) for fault in found["violations"]] == []
    assert next(len(rule["nodes"]) for rule in found["passes"] if rule["id"] == "color-contrast") > 40, "the contrast of the chat's text was measured"


def test_a_phone_shows_all(chat, notebook, screenshots):
    chat.use("Pretrained", "Parrot")
    chat.ask("Describe the picture, please, with averyveryveryveryveryveryveryveryveryveryveryverylongword.")
    chat.wait()
    wide = notebook.page.viewport_size
    notebook.page.set_viewport_size({"width": 390, "height": 844})
    files = notebook.page.locator(".jp-DirListing")
    if files.is_visible():  # nobody keeps the list of files open on a phone
        notebook.page.keyboard.press("Control+b")
        expect(files).to_be_hidden(timeout=SOON)
    chat.field.scroll_into_view_if_needed()
    notebook.page.screenshot(path=screenshots / "jupyterlab-phone.png")
    hidden = chat.root.evaluate("""root => { const frame = root.closest(".jp-OutputArea").getBoundingClientRect();
        return [...root.querySelectorAll("button, textarea, p, input, h2, h3")].filter(part => { const box = part.getBoundingClientRect();
            return box.width > 1 && !part.closest(".captionlab-gallery") && (box.right > frame.right + 1 || box.left < frame.left - 1); }).map(part => part.className + part.textContent); }""")
    notebook.page.set_viewport_size(wide)
    notebook.page.keyboard.press("Control+b")
    assert hidden == []


def test_nothing_is_loaded_from_elsewhere(shared):
    assert shared.page.elsewhere == []


def test_a_question_that_is_not_taken_waits_and_the_chat_says_so(chat, notebook):
    chat.use("Parrot")
    kernel = psutil.Process(notebook.value("__import__('os').getpid()"))
    kernel.suspend()
    try:
        chat.field.fill("patience")
        chat.ask_button.click()
        notice = chat.root.locator(".captionlab-ask-notice")
        expect(notice).to_have_text("Your question is not taken yet: the kernel is busy with something else.", timeout=SOON)
    finally:
        kernel.resume()
    expect(chat.exchanges).to_have_count(1, timeout=SOON)
    expect(notice).to_have_text("")
    chat.wait()
    assert chat.answers(chat.exchanges.first) == {"Parrot": "patience"}


def test_a_kernel_that_has_ended_is_told_of(shared, notebook, screenshots):  # the last test: no chat is left after it
    notebook.menu("Kernel", "Restart Kernel…")
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(shared.root.locator(".captionlab-ask-notice")).to_contain_text("The kernel has ended", timeout=SLOW)
    expect(shared.ask_button).to_be_disabled()
    notebook.page.screenshot(path=screenshots / "jupyterlab-ended.png")
