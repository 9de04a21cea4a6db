"""For tests of the chat's web page: a real server as a process of its own, and visitors who speak HTTP and websocket to it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import websocket

ROOT = Path(__file__).parents[1]
START = """
import json, sys
from pathlib import Path
from helpers.core.chat_server import Settings, serve
options = json.loads(sys.argv[1])
serve(Settings(Path(options.pop("notebook")), **options), say=lambda sentence: print(sentence, flush=True))
"""
KERNELSPEC = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
METADATA = {"version": "1.0.0"}  # of the protocol by which a page asks for the state of its widgets
V1 = "v1.kernel.websocket.jupyter.org"


class Server:
    """A chat server in a process; `url` is what it says at its start."""

    def __init__(self, notebook: Path, also_import: Path | str = "", **options):
        """also_import: a folder for PYTHONPATH."""
        # In a session of its own, so that a Ctrl-C at the tests' terminal is not its. And:
        # A shell that starts tests in the background makes its children deaf to Ctrl-C; the server has to hear it.
        self.process = subprocess.Popen([sys.executable, "-c", START, json.dumps({"notebook": str(notebook), "port": 0, **options})],
                                        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), str(also_import)])), "OMP_NUM_THREADS": "1"},
                                        start_new_session=True,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        first = self.process.stdout.readline()
        assert first, "the server ended before it said where it is"
        self.url = first.split()[-1]
        self.address = urlsplit(self.url)

    def request(self, path: str, method: str = "GET", headers: dict | None = None, body: bytes | None = None) -> tuple[int, http.client.HTTPMessage, str]:
        """Status, headers and text; the path is sent as it is, dots and all."""
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=400)
        connection.putrequest(method, path, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        found = reply.status, reply.headers, reply.read().decode(errors="replace")
        connection.close()
        return found

    def end(self, kernel: str, headers: dict | None = None) -> tuple[int, http.client.HTTPMessage, str]:
        """Let a kernel end, as a page does that is closed; cookie and header have to agree (against requests forged elsewhere)."""
        cookie = "; ".join(filter(None, [(headers or {}).get("Cookie"), "_xsrf=aabbccdd"]))
        return self.request(f"/voila/api/shutdown/{kernel}", "POST", {**(headers or {}), "Cookie": cookie, "X-XSRFToken": "aabbccdd"}, b"")

    def below(self) -> list[psutil.Process]:
        """Every process that the server started, kernels among them."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> None:
        """End it, if a test has not."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.process.stdout.close()


class Visitor:
    """Someone who opened the page: their kernel's id, and messages to and from it."""

    def __init__(self, server: Server, headers: dict | None = None, protocol: str | None = V1):
        self.server, self.headers, self.protocol = server, headers or {}, protocol
        status, self.reply_headers, self.page = server.request("/", headers=self.headers)
        assert status == 200, (status, self.page[:500])
        self.kernel = json.loads(re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', self.page, re.S)[1])["kernelId"]
        self.session = uuid.uuid4().hex
        self.socket = self.connect()

    def connect(self, **options) -> websocket.WebSocket:
        """A websocket to the kernel."""
        return websocket.create_connection(f"ws://127.0.0.1:{self.server.address.port}/api/kernels/{self.kernel}/channels?session_id={self.session}",
                                           timeout=180, header=self.headers, subprotocols=[self.protocol] if self.protocol else [], **options)

    def send(self, kind: str, content: dict, channel: str = "shell", buffers: list[bytes] = ()) -> str:
        """Send a message as a page would; returns its id."""
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": self.session, "username": "visitor", "version": "5.4", "date": "2026-11-22T00:00:00Z"}
        if self.protocol == V1:
            parts = [channel.encode(), *(json.dumps(part).encode() for part in (header, {}, METADATA, content)), *buffers]
            self.socket.send_binary(packed([8 * (len(parts) + 2), *sizes(parts, 8 * (len(parts) + 2))], 8, parts, count=len(parts) + 1))
        else:
            message = {"channel": channel, "header": header, "parent_header": {}, "metadata": METADATA, "content": content}
            if not buffers:
                self.socket.send(json.dumps(message))
            else:
                parts = [json.dumps(message).encode(), *buffers]
                start = 4 * (len(parts) + 1)
                offsets = [start, *sizes(parts, start)][:-1]
                self.socket.send_binary(b"".join(n.to_bytes(4, "big") for n in (len(parts), *offsets)) + b"".join(parts))
        return header["msg_id"]

    def receive(self, wanted, seconds: float = 180) -> dict:
        """The first message for which `wanted(message)` is true; raises AssertionError when none comes in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.socket.settimeout(max(0.1, end - time.monotonic()))
            try:
                data = self.socket.recv()
            except websocket.WebSocketTimeoutException:
                break
            assert data, "the server closed the connection"
            message = unpacked(data) if isinstance(data, bytes) else json.loads(data)
            if wanted(message):
                return message
        raise AssertionError("no such message came")

    def states(self) -> dict[str, dict]:
        """All widgets of the page: their id and state."""
        comm = uuid.uuid4().hex
        self.send("comm_open", {"comm_id": comm, "target_name": "jupyter.widget.control", "target_module": None, "data": {}})
        self.send("comm_msg", {"comm_id": comm, "data": {"method": "request_states"}})
        reply = self.receive(lambda m: m["header"]["msg_type"] == "comm_msg" and m["content"]["data"].get("method") == "update_states")
        return {name: model["state"] | {"_model_name": model["model_name"]} for name, model in reply["content"]["data"]["states"].items()}

    def widget(self, model: str) -> str:
        """The id of the first widget of a model, as "TextModel"."""
        return next(name for name, state in self.states().items() if state["_model_name"] == model)

    def leave(self) -> None:
        """Close the page as a browser does."""
        self.socket.close()
        status, _, text = self.server.end(self.kernel, self.headers)
        assert status in (204, 404), (status, text)


def sizes(parts: list[bytes], start: int) -> list[int]:
    """Where each part ends, the first starting at `start`."""
    ends = []
    for part in parts:
        start += len(part)
        ends.append(start)
    return ends


def packed(offsets: list[int], width: int, parts: list[bytes], count: int) -> bytes:
    """Jupyter's framing, version 1: the number of offsets, the offsets, the parts."""
    return b"".join(n.to_bytes(width, "little") for n in (count, *offsets)) + b"".join(parts)


def unpacked(data: bytes) -> dict:
    """A binary message in either framing, without its buffers."""
    count = int.from_bytes(data[:8], "little")
    if count < 100:
        offsets = [int.from_bytes(data[8 * n:8 * n + 8], "little") for n in range(1, count + 1)]
        parts = [data[a:b] for a, b in zip(offsets, offsets[1:])]
        return {"channel": parts[0].decode(), "header": json.loads(parts[1]), "content": json.loads(parts[4])}
    count = int.from_bytes(data[:4], "big")
    offsets = [int.from_bytes(data[4 * n:4 * n + 4], "big") for n in range(1, count + 1)]
    return json.loads(data[offsets[0]:offsets[1] if count > 1 else None])
