"""The key: runs of every kind with a marked one, then a search of every file and every output for it."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from teacher_scenes import drawn

from helpers.core import endpoints
from helpers.core.errors import TeacherError
from helpers.core.standin import Faults, StandIn

ROOT = Path(__file__).parents[1]
MARK = "markedSecret0123456789"
MARKED = f"sk-{MARK}"
BUG = """
import sys, traceback
from helpers.core.qwen_vl import QwenVL
from helpers.core.images import encode_image
client = QwenVL("qwen3-vl-plus", sys.argv[2])
print(client, vars(client))
client._judge = lambda response, tries: 1 / 0
try:
    client.ask(sys.argv[1], "What is it?")
except ZeroDivisionError as error:
    print("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
client.ask(sys.argv[1], "What is it?")
"""


class Parrot(BaseHTTPRequestHandler):
    """An endpoint of ill will: it repeats the key in whatever it answers. `/status/429/api/v1/…` answers 429."""

    def do_POST(self) -> None:
        """Answers with the status that the address asks for."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.lines.append(self.requestline)
        key = self.headers["Authorization"]
        status = int(self.path.split("/")[2])
        self._send(status, json.dumps({"code": f"Odd{status}", "message": f"You said {key}", "request_id": "r"}))

    def do_GET(self) -> None:
        """The quotas, which it does not know."""
        self.server.lines.append(self.requestline)
        self._send(404, json.dumps({"code": "NotFound", "message": self.headers["Authorization"]}))

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def parrot():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Parrot)
    server.lines = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    drawn(folder, 6, 2)
    return folder


def traces(text: bytes) -> bool:
    """Whether the key is in a text, as it is or in base64."""
    shifted = [base64.b64encode(b"x" * n + MARK.encode())[4:20] for n in range(3)]
    return MARK.encode() in text or any(piece in text for piece in shifted)


def test_a_marked_key_is_found_nowhere_after_runs_of_every_kind(folder, parrot, tmp_path):
    env = {**os.environ, "DASHSCOPE_API_KEY": MARKED, "DASHSCOPE_LOGGING_LEVEL": "debug", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT),
           "PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1"}
    outputs = []

    def run(*words: str, base_url: str, code: int) -> None:
        done = subprocess.run([sys.executable, *map(str, words)], cwd=tmp_path, env={**env, "DASHSCOPE_HTTP_BASE_URL": base_url}, capture_output=True)
        outputs.append(done.stdout + done.stderr)
        assert done.returncode == code, outputs[-1].decode()[-2000:]

    def label(store: str, *options: str) -> tuple[str, ...]:
        return ("-m", "helpers.cli", "label", "--images", str(folder), "--store", str(tmp_path / store), *options)

    odd = f"http://127.0.0.1:{parrot.server_port}/status/"
    with StandIn(folder, Faults(internal=0.1, throttled=0.1, cut=0.05, garbled=0.05, refused=0.2)) as teacher:
        run(*label("good.sqlite", "--max-cost", "1"), base_url=teacher.base_url, code=0)
        run(*label("good.sqlite", "--dry-run"), base_url=teacher.base_url, code=0)
        run("-c", BUG, folder / "Train" / "0000.jpg", teacher.base_url, base_url=teacher.base_url, code=1)
    assert b"Starting request" in outputs[0]                                            # the SDK's log was really on
    run(*label("refused.sqlite", "--rpm", "6000"), base_url=odd + "400/api/v1", code=0)  # the message becomes a row
    run(*label("fatal.sqlite"), base_url=odd + "401/api/v1", code=1)
    run(*label("fatal.sqlite"), base_url=odd + "403/api/v1", code=1)
    run(*label("gone.sqlite", "--limit", "1"), base_url="http://dashscope.aliyuncs.com/api/v1", code=1)  # plain HTTP elsewhere: refused
    (tmp_path / "file").write_text("no folder")
    run(*label("file/l.sqlite"), base_url=odd + "400/api/v1", code=1)                     # a store that cannot be made
    assert any(b"You said Bearer sk-" in output for output in outputs)                  # it was said, and taken out
    assert parrot.lines and not any(MARK in line for line in parrot.lines)              # in no address
    files = [path for place in (tmp_path, folder) for path in place.rglob("*") if path.is_file()]
    assert any(b"You said Bearer" in path.read_bytes() for path in files if path.name.startswith("refused.sqlite"))
    found = [str(path) for path in files if traces(path.read_bytes())] + [output.decode()[-3000:] for output in outputs if traces(output)]
    assert not found


def test_a_notebook_that_labels_and_one_that_fails_show_no_key(folder, parrot, tmp_path, monkeypatch):
    monkeypatch.setenv("DASHSCOPE_API_KEY", MARKED)
    monkeypatch.setenv("DASHSCOPE_LOGGING_LEVEL", "debug")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    call = f"from helpers.dataset import label_images\nprint(label_images({str(folder)!r}, {str(tmp_path / 'n.sqlite')!r}, limit=2, endpoint={{url!r}}))"
    with StandIn(folder) as teacher:
        cells = [call.format(url=teacher.base_url), "%xmode Verbose", call.format(url=f"http://127.0.0.1:{parrot.server_port}/status/401/api/v1")]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        with pytest.raises(CellExecutionError):
            NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    written = json.dumps(notebook)
    assert "2 labels from" in written and "TeacherError" in written and MARK not in written


def test_nobody_at_hand_is_asked_for_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", "from helpers.core.qwen_vl import QwenVL\nQwenVL('m')"], cwd=ROOT, input="sk-typed\n",
                          capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert "there is no key" in done.stderr and "sk-typed" not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_on_a_terminal_the_key_is_asked_for_and_not_shown(tmp_path):
    pexpect = pytest.importorskip("pexpect")
    code = "from helpers.core.qwen_vl import QwenVL\nclient = QwenVL('m')\nprint('taken', client, client._key == 'sk-' + 'x' * 20, repr(client._key))"
    child = pexpect.spawn(sys.executable, ["-c", code], cwd=str(ROOT), env={**os.environ, "HOME": str(tmp_path)}, encoding="utf-8", timeout=60)
    child.expect("DashScope key")
    child.waitnoecho()
    child.sendline("sk-" + "x" * 20)
    child.expect(pexpect.EOF)
    assert "taken" in child.before and "True" in child.before and "xxxx" not in child.before


def test_in_a_notebook_the_front_end_asks_and_one_without_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    code = "from helpers.core.qwen_vl import QwenVL\nQwenVL('m')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(CellExecutionError, match="there is no key"):
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    monkeypatch.setattr(endpoints.getpass, "getpass", lambda prompt: " sk-typed ")
    monkeypatch.setattr(endpoints.sys, "stdin", type("Terminal", (), {"isatty": staticmethod(lambda: True)})())
    assert endpoints.ask_key() == "sk-typed"


def test_a_secret_is_itself_to_the_wire_and_nothing_to_a_printout():
    secret = endpoints.check_key(f" {MARKED} ")
    assert secret == MARKED and f"Bearer {secret}" == f"Bearer {MARKED}"
    assert MARK not in repr({"api_key": secret}) and MARK not in repr([secret])
    with pytest.raises(TeacherError):
        endpoints.check_key("")
