"""What the browser tests share: a Chromium, and a folder for screenshots (results/screenshots, which git does not keep)."""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "results" / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome")

sys.path.insert(0, str(Path(__file__).parents[1]))  # chat_visitors, beside the other tests

from chat_page import NOTEBOOK  # noqa: E402
from chat_visitors import KERNELSPEC, Server  # noqa: E402

from helpers.core.chat_server import HIDDEN_TAG  # noqa: E402


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser. Without one the tests are skipped, but never in continuous integration."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs a Chromium; on Debian: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def flags() -> list[str]:
    """What the browser is started with; a module of tests may add to it."""
    return FLAGS


@pytest.fixture(scope="module")
def browser(chromium, flags):
    """The browser, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        driven = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield driven
        driven.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures of the pages go, to be looked at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS


@pytest.fixture(scope="session")
def chat_server(chromium, tmp_path_factory):
    """The chat as a page, for as many visitors as the tests need at a time."""
    folder = tmp_path_factory.mktemp("chat")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# The chat", metadata={"tags": [HIDDEN_TAG]}), nbformat.v4.new_code_cell(NOTEBOOK)],
                                            metadata=KERNELSPEC), folder / "chat.ipynb")
    server = Server(folder / "chat.ipynb", visitors=7)
    yield server
    server.stop()


def pytest_report_header() -> str:
    """Where to look afterwards."""
    return f"screenshots: {SCREENSHOTS.relative_to(ROOT)}"
