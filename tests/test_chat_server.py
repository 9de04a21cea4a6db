"""The chat's web page against visitors of every kind: a real server, real kernels, real websockets."""

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import nbformat
import psutil
import pytest
import websocket
from chat_visitors import KERNELSPEC, V1, Server, Visitor
from jupyter_client import BlockingKernelClient

from helpers.core.chat_server import MESSAGE_BYTES, Settings, configuration, is_loopback, serve
from helpers.core.errors import InputError, ResourceError
from helpers.core.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SECRET = "nobody reads this line of code"
CODE = f"""
import os, sys, ipywidgets  # {SECRET}
print("murmured on opening", file=sys.stderr)
field, echo, upload = ipywidgets.Text(), ipywidgets.HTML(), ipywidgets.FileUpload()
def complain(change):
    print("murmured", os.getcwd())
    print("complained", os.getcwd(), file=sys.stderr)
    raise OSError(f"raised in {{os.getcwd()}}")
field.observe(lambda change: setattr(echo, "value", f"{{os.getpid()}} {{change['new']}}"), "value")
upload.observe(lambda change: setattr(echo, "value", f"{{len(change['new'][0]['content'])}} bytes"), "value")
field.observe(lambda change: change["new"] == "complain" and complain(change), "value")
ipywidgets.VBox([field, echo, upload])
"""
BROKEN = "import os\nopen(os.path.join(os.getcwd(), 'no such file'))"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A page with three widgets, in a folder with a picture that is nobody's business."""
    folder = tmp_path_factory.mktemp("notebooks")
    cells = [nbformat.v4.new_markdown_cell("# A page"), nbformat.v4.new_code_cell(CODE)]
    file = folder / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNELSPEC), file)
    (folder / "private.png").write_bytes(b"private picture")
    return file


@pytest.fixture(scope="module")
def server(notebook):
    server = Server(notebook, visitors=2, alone_seconds=15)
    yield server
    server.stop()


@pytest.fixture
def arrive(server):
    """Lets one visitor more come; whoever is still there afterwards leaves, so that a test that fails takes no place from the next one."""
    visitors = []

    def arrive() -> Visitor:
        visitors.append(Visitor(server))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.leave()


@pytest.fixture
def visitor(arrive):
    return arrive()


def type_in(visitor: Visitor, words: str) -> None:
    """Type words into the page's field."""
    visitor.send("comm_msg", {"comm_id": visitor.widget("TextModel"), "data": {"method": "update", "state": {"value": words}, "buffer_paths": []}})


def says(visitor: Visitor, words: str) -> str:
    """What the page echoes to words typed into its field."""
    type_in(visitor, words)
    update = visitor.receive(lambda m: m["header"]["msg_type"] == "comm_msg" and words in str(m["content"]["data"].get("state", {}).get("value")) and
                             " " in m["content"]["data"]["state"]["value"])
    return update["content"]["data"]["state"]["value"]


def test_each_visitor_has_a_kernel_and_words_of_their_own_and_sees_no_code(server, arrive):
    first, second = arrive(), arrive()
    answers = [says(first, "apple"), says(second, "pear")]
    assert [answer.split()[1] for answer in answers] == ["apple", "pear"]
    assert answers[0].split()[0] != answers[1].split()[0]
    assert "A page" in first.page and SECRET not in first.page and "ipywidgets.Text()" not in first.page
    assert not any("apple" in str(state.get("value")) for state in second.states().values())
    # A third one has to wait, and is told so in both languages; when somebody leaves, there is a place again.
    status, headers, page = server.request("/")
    assert status == 503 and int(headers["Retry-After"]) > 0 and "All places are taken" in page and "现在人满了" in page
    first.leave()
    assert says(arrive(), "plum").endswith("plum")


def test_a_page_that_is_loaded_anew_finds_its_own_place(arrive):
    first, second = arrive(), arrive()
    with ThreadPoolExecutor() as pool:  # a browser asks for the new page before it says that the old one is left
        again = pool.submit(arrive)
        time.sleep(1)
        second.leave()
        assert again.result().kernel not in (first.kernel, second.kernel)


def test_a_page_can_say_that_it_is_left(server, visitor):
    given = next(value for value in visitor.reply_headers.get_all("Set-Cookie") if value.startswith("_xsrf="))
    assert "HttpOnly" not in given  # Voilà's script reads it
    cookie = given.split(";")[0]
    value = cookie.partition("=")[2]
    body = urlencode({"_xsrf": value}).encode()
    path, kind = f"/voila/api/shutdown/{visitor.kernel}", {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.request(path, "POST", kind, body)[0] == 403  # one that another site makes a browser send brings no cookie
    assert server.request(path, "POST", {**kind, "Cookie": cookie}, body)[0] == 204
    assert server.request(f"/api/kernels/{visitor.kernel}")[0] == 404


def test_code_that_a_visitor_sends_is_not_run(visitor, tmp_path):
    touched = tmp_path / "touched"
    content = {"code": f"open({str(touched)!r}, 'w').close()", "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    for channel in ("shell", "control", "stdin", "iopub"):
        visitor.send("execute_request", content, channel)
    visitor.send("debug_request", {"type": "request", "command": "evaluate", "seq": 1, "arguments": {"expression": content["code"]}}, "control")
    visitor.send("complete_request", {"code": "SECR", "cursor_pos": 4})
    visitor.send("inspect_request", {"code": "upload", "cursor_pos": 4, "detail_level": 1})
    visitor.send("shutdown_request", {"restart": False}, "control")
    assert says(visitor, "after").endswith("after")  # what was sent before has been dealt with, and the kernel lives
    assert not touched.exists()
    # The same words do run when they come from the server's side: it is the gate that held them.
    client = BlockingKernelClient(connection_file=str(connection_file(visitor.kernel)))
    client.load_connection_file()
    client.start_channels()
    client.execute_interactive(content["code"], timeout=60)
    client.stop_channels()
    assert touched.exists()


def test_what_a_kernel_prints_and_raises_stays_here(visitor, notebook):
    heard = []
    type_in(visitor, "complain")
    visitor.receive(lambda message: heard.append(message) or message["content"].get("data", {}).get("state", {}).get("value", "").endswith("complain"))
    visitor.send("kernel_info_request", {})
    visitor.receive(lambda message: heard.append(message) or message["header"]["msg_type"] == "kernel_info_reply")
    assert {"status", "comm_msg"} <= {message["header"]["msg_type"] for message in heard} <= {"status", "comm_msg", "kernel_info_reply"}
    told = json.dumps([message["content"] for message in heard]) + visitor.page
    assert [word for word in ("murmured", "complained", "raised in", "Traceback", str(notebook.parent)) if word in told] == []
    assert says(visitor, "onwards").endswith("onwards")


def test_a_page_that_cannot_be_made_says_so_in_a_sentence(tmp_path):
    file = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(BROKEN)], metadata=KERNELSPEC), file)
    server = Server(file)
    page = Visitor(server).page
    server.stop()
    assert "The chat could not be opened" in page and "聊天无法打开" in page
    assert not any(word in page for word in (str(tmp_path), "no such file", "FileNotFoundError", "Traceback", "--debug"))


def test_a_kernel_that_does_not_start_is_told_of(notebook, tmp_path):
    # Every Python looks for this file at its start; of the server's children, only the kernels end there.
    (tmp_path / "sitecustomize.py").write_text("import sys, os\nif 'ipykernel_launcher' in sys.orig_argv: os._exit(3)\n")
    server = Server(notebook, also_import=tmp_path)
    status, _, page = server.request("/")
    server.stop()
    assert status == 200 and 'role="alert"' in page and "The chat could not be opened" in page


def connection_file(kernel: str) -> Path:
    """Where the server wrote how to reach a kernel."""
    return next(Path(tempfile.gettempdir()).glob(f"captionlab-page-*/voila_*/kernel-{kernel}.json"))


def test_a_visitor_opens_no_widget_and_garbage_changes_nothing(visitor):
    state = {"_model_module": "@jupyter-widgets/controls", "_model_module_version": "2.0.0", "_model_name": "TextModel",
             "_view_module": "@jupyter-widgets/controls", "_view_module_version": "2.0.0", "_view_name": "TextView", "value": "mine"}
    before = set(visitor.states())
    visitor.send("comm_open", {"comm_id": "0" * 32, "target_name": "jupyter.widget", "data": {"state": state, "buffer_paths": []}})
    visitor.send("comm_open", {"comm_id": "1" * 32, "target_name": "matplotlib", "data": {}})
    for garbage in ("", "[]", "{}", "null", '{"header": {"msg_type": ["comm_msg"]}, "channel": "shell", "content": 3}'):
        visitor.socket.send(garbage)
    visitor.socket.send_binary(b"\xff" * 64)
    visitor.protocol = None  # the older protocol, in which one large reply would hold the whole server
    with pytest.raises(websocket.WebSocketBadStatusException, match="400"):
        visitor.connect()
    visitor.protocol = V1
    assert set(visitor.states()) == before and says(visitor, "still").endswith("still")


def test_no_file_can_be_read(server, notebook, arrive):
    inside = ["page.ipynb", "private.png", "..%2f..%2fetc%2fpasswd"]
    up = ["../" * 12 + "etc/passwd", "..%2f" * 12 + "etc%2fpasswd", "%2e%2e/" * 12 + "etc/passwd", "....//" * 8 + "etc/passwd", "/etc/passwd", "%2fetc%2fpasswd",
          "../" * 12 + "proc/self/environ", "%2fproc%2fself%2fenviron", "lab/static/" + "..%2f" * 14 + "proc/self/environ", "..%2f" * 6 + "static/etc/passwd",
          "..%5c" * 8 + "etc%5cpasswd", "static/" + "../" * 12 + "etc/passwd", "lab/static/" + "../" * 14 + "etc/passwd", f"{notebook}", f"%2f{str(notebook)[1:]}"]
    places = ["/", "/voila/files/", "/files/", "/voila/static/", "/voila/templates/", "/voila/labextensions/", "/voila/api/themes/", "/static/", "/api/contents/",
              "/voila/api/contents/", "/voila/render/", "/notebooks/", "/nbconvert/html/", "/voila/tree/", "/lab/"]
    others = ["/api/contents", "/api/kernels", "/api/sessions", "/api/terminals", "/api/config/x", "/api/kernelspecs", "/api", "/tree", "/terminals/1", "/api/kernels/none",
              "/proc/self/environ", "/logout", "/voila/query/00000000-0000-0000-0000-000000000000", "/voila/execution/00000000-0000-0000-0000-000000000000"]
    for path in others + [place + name for place in places for name in inside + up]:
        status, headers, text = server.request(path)
        assert status in (302, 400, 403, 404), (path, status)
        assert not any(found in text for found in ("root:", "PYTHONPATH", SECRET, "private picture", "ipywidgets.Text()", "Traceback")), path
        assert not headers.get("Location", "").startswith("//"), path
    assert server.request("/api/kernels", "POST", {"Content-Type": "application/json"}, b"{}")[0] in (403, 404, 405)
    # A template or theme of the visitor's choice would be a folder of the machine's; the page comes as ever, in Voilà's own.
    arrive()
    odd = server.request("/?template=../../../../../etc&theme=../../../../../etc")
    assert odd[0] == 200 and "A page" in odd[2] and "etc" not in odd[2].replace("page.ipynb", "").split("jupyter-config-data")[0][:2000]


def test_only_this_machine_reaches_the_page(server, visitor):
    processes = [psutil.Process(server.process.pid), *server.below()]
    listening = {connection.laddr for process in processes for connection in process.net_connections("inet") if connection.status == psutil.CONN_LISTEN}
    assert ("127.0.0.1", server.address.port) in listening and {address.ip for address in listening} == {"127.0.0.1"}


def test_requests_in_a_foreign_name_are_refused(server, visitor):
    assert server.request("/", headers={"Host": "elsewhere.example"})[0] == 403
    assert server.request(f"/api/kernels/{visitor.kernel}", headers={"Host": "elsewhere.example"})[0] == 403
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        visitor.connect(origin="http://elsewhere.example")
    policy = visitor.reply_headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "http" not in policy


def test_twenty_megabytes_pass_and_more_than_the_limit_closes_the_connection(visitor):
    upload = visitor.widget("FileUploadModel")

    def send(size: int) -> None:
        state = {"value": [{"name": "a.png", "type": "image/png", "size": size, "last_modified": 1700000000000}]}
        visitor.send("comm_msg", {"comm_id": upload, "data": {"method": "update", "state": state, "buffer_paths": [["value", 0, "content"]]}}, buffers=[bytes(size)])

    send(20 * 2**20)
    assert visitor.receive(lambda m: "bytes" in str(m["content"].get("data", {}).get("state", {}).get("value", "")))["content"]["data"]["state"]["value"] == f"{20 * 2**20} bytes"
    with pytest.raises((websocket.WebSocketException, OSError, AssertionError)):
        send(MESSAGE_BYTES + 1)
        visitor.receive(lambda m: False, seconds=10)
    visitor.socket = visitor.connect()
    assert says(visitor, "again").endswith("again")


def test_a_kernel_ends_when_its_page_is_gone_and_its_files_with_it(server, visitor):
    pid = int(says(visitor, "x").split()[0])
    assert server.request(f"/api/kernels/{visitor.kernel}")[0] == 200
    visitor.socket.close()
    assert ended(pid, 120)
    deadline = time.monotonic() + 30  # the process ends first, then its entry in the server's list
    while server.request(f"/api/kernels/{visitor.kernel}")[0] != 404:
        assert time.monotonic() < deadline, "the kernel that has ended is still listed"
        time.sleep(0.2)


def test_an_idle_conversation_ends_and_one_that_is_used_does_not(notebook):
    server = Server(notebook, visitors=2, idle_minutes=0.4)  # 24 seconds, in which also a slow machine hears of who is there
    used, idle = Visitor(server), Visitor(server)
    kernels = {visitor: int(says(visitor, "hello").split()[0]) for visitor in (used, idle)}
    deadline = time.monotonic() + 120
    while server.request(f"/api/kernels/{idle.kernel}")[0] != 404:  # its page is open, its socket connected
        assert says(used, f"still {time.monotonic()}")
        assert time.monotonic() < deadline, "a conversation that nobody uses does not end"
    assert not psutil.pid_exists(kernels[idle]) and psutil.pid_exists(kernels[used])
    server.stop()


def ended(pid: int, seconds: float) -> bool:
    """Whether a process ends in time."""
    try:
        psutil.Process(pid).wait(seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_ctrl_c_leaves_nothing_behind(server):
    visitors = [Visitor(server), Visitor(server)]
    below = server.below()
    assert len(below) >= 2 and visitors
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    assert psutil.wait_procs(below, timeout=30)[1] == []


def test_a_wider_address_asks_for_a_token_and_a_killed_server_leaves_no_kernel(notebook):
    server = Server(notebook, ip="0.0.0.0", visitors=1)
    token = server.url.partition("token=")[2]
    assert len(token) > 20
    for path in ("/", "/?token=wrong", "/api/kernels/00000000-0000-0000-0000-000000000000"):
        status, headers, text = server.request(path)
        assert status == 403 or status == 302 and "/login" in headers["Location"], (path, status)
    status, _, text = server.request("/login?next=%2F")
    assert status == 200 and "This chat asks for a token" in text and "需要令牌" in text and "not the token" not in text
    assert "That is not the token" in server.request(server.request("/?token=wrong")[1]["Location"])[2]
    status, headers, _ = server.request(f"/?token={token}")
    assert status == 302 and "token" not in headers["Location"]  # it does not stay in the address
    guest = Visitor(server, {"Cookie": "; ".join(value.split(";")[0] for value in headers.get_all("Set-Cookie"))})
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(f"ws://127.0.0.1:{server.address.port}/api/kernels/{guest.kernel}/channels", timeout=30)
    pid = int(says(guest, "hello").split()[0])
    below = server.below()
    assert pid in [process.pid for process in below]
    server.process.kill()
    server.process.wait()
    assert psutil.wait_procs(below, timeout=60)[1] == []
    server.process.stdout.close()


def test_the_command_serves_the_page_until_ctrl_c(notebook):
    command = [sys.executable, "-m", "helpers.cli", "chat", "--port", "0", "--visitors", "1", "--notebook", str(notebook)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    url = re.fullmatch(r"the chat is at (http://127\.0\.0\.1:\d+/)\n", server.stdout.readline())[1]
    with urllib.request.urlopen(url, timeout=400) as reply:
        assert b"A page" in reply.read()
    server.send_signal(signal.SIGINT)
    _, complaints = server.communicate(timeout=60)
    assert server.returncode == 0 and complaints == ""  # of the libraries' warnings, none is for whoever serves a page
    shown = subprocess.run(["make", "-n", "chat", "IP=0.0.0.0", "PORT=8899", "VISITORS=3"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "captionlab chat --ip 0.0.0.0 --port 8899 --visitors 3" in shown


def test_settings_that_cannot_be(tmp_path, notebook):
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost") and not is_loopback("0.0.0.0") and not is_loopback("192.168.1.5")
    assert configuration(Settings(notebook), "x").Voila.token == ""
    made = {configuration(Settings(notebook, ip="0.0.0.0"), "x").Voila.token for _ in range(2)}
    assert len(made) == 2 and all(len(token) > 20 for token in made)
    with pytest.raises(InputError, match="token"):
        configuration(Settings(notebook, ip="0.0.0.0", token=""), "x")
    with pytest.raises(InputError, match="no IP address"):
        configuration(Settings(notebook, ip="somewhere"), "x")
    with pytest.raises(InputError, match="nothing to serve"):
        serve(Settings(tmp_path / "none.ipynb"))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ResourceError, match="taken"):
        serve(Settings(notebook, port=taken.getsockname()[1]))
