"""The chat as somebody at a browser uses it, the same in JupyterLab and on Voilà's page."""

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Download, Locator, Page, expect

SLOW = 180_000  # milliseconds; a page that runs a notebook, on a machine that has other things to do
SOON = 60_000

# What chat_page.NOTEBOOK adds to the course's systems: one that can be watched and stopped, one whose words are the visitor's.
NOTEBOOK = '''
import time
from helpers.chat import open_chat

class Slow:
    def stream(self, picture, question):
        for number in range(400):
            time.sleep(0.05)
            yield f"word{number} "

class Parrot:
    def describe(self, pictures, question):
        return [question]

chat = open_chat(others={"Slow": Slow(), "Parrot": Parrot()}, scenes=4)
chat.widget
'''


@contextmanager
def visit(browser: Browser, url: str, **window) -> Iterator["ChatPage"]:
    """Somebody at a browser of their own who opens the chat, and leaves it as people do, so that the server learns of it. It is being made
    when this returns: `ready` waits for it.  window: as of Playwright's new_context."""
    context = browser.new_context(**window)
    page = context.new_page()
    try:
        page.goto(url, timeout=SLOW, wait_until="commit")
        yield ChatPage(page)
    finally:
        page.goto("about:blank")
        context.close()


class ChatPage:
    """One chat on a page."""

    def __init__(self, page: Page):
        self.page = page
        self.root = page.locator(".captionlab-chat").first
        self.field, self.ask_button, self.stop_button = self.root.locator(".captionlab-field"), self.root.locator(".captionlab-ask"), self.root.locator(".captionlab-stop")
        self.exchanges = self.root.locator(".captionlab-exchange")
        self.upload_notice = self.root.locator(".captionlab-picture .captionlab-notice")
        self.dialogs: list[str] = []
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    @property
    def kernel(self) -> str:
        """The id of the kernel behind Voilà's page."""
        return self.page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")

    def ready(self) -> "ChatPage":
        """Wait until it can be used."""
        expect(self.field).to_be_visible(timeout=SLOW)
        expect(self.ask_button).to_be_enabled(timeout=SLOW)
        expect(self.root.locator(".captionlab-thumb").first).to_be_visible(timeout=SOON)
        return self

    def use(self, *labels: str) -> None:
        """Tick these systems, and no others."""
        for row in self.root.locator(".captionlab-model").all():
            box, label = row.locator("input[type=checkbox]"), row.locator(".widget-checkbox").inner_text().strip()
            if box.is_enabled():
                box.set_checked(label in labels)

    def ask(self, question: str) -> Locator:
        """Send a question with the mouse; returns the exchange."""
        number = self.exchanges.count()
        self.field.fill(question)
        self.ask_button.click()
        expect(self.exchanges).to_have_count(number + 1, timeout=SOON)
        return self.exchanges.nth(number)

    def wait(self) -> None:
        """Until no answer is being written."""
        expect(self.stop_button).to_be_disabled(timeout=SLOW)
        expect(self.ask_button).to_be_enabled(timeout=SOON)

    def answers(self, exchange: Locator) -> dict[str, str]:
        """{label: words} of an exchange."""
        return {box.locator(".captionlab-system").inner_text(): box.locator(".captionlab-text").inner_text() for box in exchange.locator(".captionlab-answer").all()}

    def clear(self) -> None:
        """Begin anew."""
        self.root.locator("button.captionlab-clear").click()
        expect(self.exchanges).to_have_count(0, timeout=SOON)

    def speak(self, language: str) -> None:
        """Switch the interface's language, by the name on the switch."""
        self.root.locator(".captionlab-language").get_by_text(language, exact=True).click()

    def send_file(self, name: str, data: bytes, mime: str = "image/png") -> str:
        """Upload a file; returns what the chat says to it, once it says something."""
        before = self.preview()
        with tempfile.TemporaryDirectory() as folder:
            # The driver takes half a minute for 20 MB, but none for a file of that size.
            if large := len(data) > 2**20:
                Path(folder, name).write_bytes(data)
            self.root.locator("input.captionlab-file").set_input_files(Path(folder, name) if large else {"name": name, "mimeType": mime, "buffer": data})
            self.page.wait_for_function("""([notice, image, before, receiving]) => !notice.textContent.startsWith(receiving) && (notice.textContent || image.src !== before)""",
                                        arg=[self.upload_notice.element_handle(), self.root.locator(".captionlab-preview img").element_handle(), before, "Receiving"], timeout=SOON)
        return self.upload_notice.inner_text()

    def preview(self) -> str:
        """The address of the picture that is talked about."""
        return self.root.locator(".captionlab-preview img").get_attribute("src") or ""

    def save(self) -> tuple[Download, dict, str, dict[str, bytes]]:
        """Press Save: the download, the JSON in it, the Markdown, and every file."""
        with self.page.expect_download(timeout=SOON) as waiting:
            self.root.locator("button.captionlab-save").click()
        download = waiting.value
        with zipfile.ZipFile(io.BytesIO(Path(download.path()).read_bytes())) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        return download, json.loads(files["conversation.json"]), files["conversation.md"].decode(), files


def watch_growth(exchange: Locator, times: int, timeout: int = SOON) -> list[str]:
    """The first answer's words at `times` moments, each longer than the one before."""
    text, seen = exchange.locator(".captionlab-text").first, []
    for _ in range(times):
        expect(text).not_to_have_text(re.compile(rf"^{re.escape(seen[-1])}\s*$" if seen else r"^\s*$"), timeout=timeout)
        seen.append(text.inner_text().strip())
    return seen
