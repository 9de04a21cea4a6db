"""JupyterLab itself, served to a browser that the tests drive: a notebook opened, run by its menu, and saved."""

import ast
import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
from chat_page import SLOW, SOON
from jupyter_client import BlockingKernelClient
from playwright.sync_api import Page, expect

ROOT = Path(__file__).parents[2]
NEWS = {"fetchNews": "false", "checkForUpdates": False}  # else JupyterLab asks, in front of the notebook, whether it may look for news


class JupyterLab:
    """A server for the notebooks in `folder`, with settings of its own; `url` leads to it."""

    def __init__(self, folder: Path, own: Path):
        """own: a folder for its settings, its log and the like."""
        self.folder, self.token, self.runtime = folder, secrets.token_hex(8), own / "runtime"
        places = {name: str(own / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
        settings = own / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(NEWS))
        self.log = (own / "log").open("w+")
        root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={folder}", *root,
             f"--IdentityProvider.token={self.token}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=None"],
            stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True,  # so that a Ctrl-C at the tests' terminal is not its
            env={**os.environ, **places, "JUPYTER_RUNTIME_DIR": str(self.runtime), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
        self.url = self._wait()

    def _wait(self) -> str:
        """The address, once the server says it; its log, where it does not."""
        for _ in range(SLOW // 100):
            self.log.seek(0)
            said = self.log.read()
            if found := re.search(r"http://127\.0\.0\.1:\d+/", said):
                return found[0]
            assert self.process.poll() is None, said
            time.sleep(0.1)
        raise AssertionError(f"JupyterLab did not start:\n{said}")

    def stop(self) -> None:
        """End it with its kernels."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:  # it waits for a kernel that is just being started anew
            self.process.kill()
            self.process.wait(20)
        for process in psutil.wait_procs(below, timeout=5)[1]:
            process.kill()
        self.log.close()


class LabNotebook:
    """A notebook open in JupyterLab."""

    def __init__(self, page: Page, lab: JupyterLab, name: str):
        self.page, self.lab, self.path = page, lab, lab.folder / name
        page.goto(f"{lab.url}lab/tree/{name}?token={lab.token}", timeout=SLOW, wait_until="commit")
        expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=SLOW)
        expect(page.locator("#jp-bottom-panel, #jp-main-statusbar").get_by_text("| Idle")).to_be_visible(timeout=SLOW)  # of the kernel, once it is there

    def menu(self, *names: str) -> None:
        """Click through the menu bar: "Run", "Run All Cells"."""
        self.page.get_by_role("menuitem", name=names[0], exact=True).click()
        for name in names[1:]:
            item = self.page.locator(".lm-Menu-item").filter(has=self.page.get_by_text(name, exact=True)).last
            item.hover()
            item.click()

    def run_all(self) -> nbformat.NotebookNode:
        """Run → Run All Cells, waited for; returns the notebook as it was saved then. (A cell that fails ends the run.)"""
        self.menu("Run", "Run All Cells")
        prompts = self.page.locator(".jp-CodeCell .jp-InputArea-prompt")
        expect(prompts.filter(has_text=re.compile(r"\[[\d*]+\]"))).not_to_have_count(0, timeout=SLOW)
        expect(prompts.filter(has_text="*")).to_have_count(0, timeout=SLOW)
        with self.page.expect_response(lambda response: response.request.method == "PUT" and "/api/contents/" in response.url, timeout=SOON):
            self.menu("File", "Save Notebook")
        return nbformat.read(self.path, as_version=4)

    def value(self, expression: str) -> object:
        """What a Python expression is in the notebook's kernel; it has to be a literal."""
        client = BlockingKernelClient(connection_file=str(next(self.lab.runtime.glob("kernel-*.json"))))
        client.load_connection_file()
        client.start_channels()
        try:
            reply = client.execute("", user_expressions={"value": expression}, reply=True, timeout=SLOW / 1000)
        finally:
            client.stop_channels()
        return ast.literal_eval(reply["content"]["user_expressions"]["value"]["data"]["text/plain"])

    def theme(self, name: str) -> None:
        """Settings → Theme → "JupyterLab Dark", or "JupyterLab Light"."""
        self.menu("Settings", "Theme", name)
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name, timeout=SOON)
