"""The three parts of the chat that ipywidgets has no widget for: the picture panel, the conversation, the field to ask in.

Each is an anywidget: a Python class with synced values, and a page of JavaScript beside this file that draws them (no build
step, nothing loaded from elsewhere). They keep what the browser must know and hand what happens there to callbacks:

    PicturePanel   gallery, chosen, preview …     on_choose(key)   on_upload(bytes, name)   on_too_large(name)
    Log            shows messages of the chat     on_hello()       on_action("again" | "edit" | "truth", index)
    Composer       value, busy, suggestions …     on_ask(text)     on_stop()                on_cancel_edit()

Messages from a browser are checked here, since a page can send what it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from helpers.core.chat_pictures import MAX_BYTES

HERE = Path(__file__).parent
PIECE = 2**20  # bytes of one piece of an upload, as chat_picture.js cuts them
ACTIONS = ("again", "edit", "truth")


def _nothing(*_) -> None:
    """What a part does with an event nobody asked for."""


class PicturePanel(anywidget.AnyWidget):
    """The picture that is talked about, a gallery, upload, drag and drop, and the camera."""

    _esm = HERE / "chat_picture.js"
    words = traitlets.Dict().tag(sync=True)
    gallery = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    name = traitlets.Unicode("").tag(sync=True)
    preview = traitlets.Unicode("").tag(sync=True)
    notice = traitlets.Unicode("").tag(sync=True)
    told = traitlets.Int(0).tag(sync=True)

    def __init__(self, **values):
        self.on_choose: Callable[[str], None] = _nothing
        self.on_upload: Callable[[bytes, str], None] = _nothing
        self.on_too_large: Callable[[str], None] = _nothing
        self.on_broken: Callable[[str], None] = _nothing
        self._pieces: list[bytes] = []
        self._upload = ""
        super().__init__(**values)
        self.on_msg(lambda _, message, buffers: self.receive(message, buffers))

    def say(self, notice: str) -> None:
        """Show a sentence under the picture, also where it is the same as before."""
        self.notice = notice
        self.told += 1

    def receive(self, message: dict, buffers: list) -> None:
        """What a browser sent: a choice, or a piece of a file (index 0 begins a new one, which replaces an unfinished one)."""
        kind, name = message.get("kind"), str(message.get("name", ""))
        if kind == "choose":
            self.on_choose(str(message.get("key")))
        elif kind == "too_large":
            self.on_too_large(name)
        elif kind == "piece":
            index, of = message.get("index"), message.get("of")
            if index == 0:
                self._upload, self._pieces = str(message.get("id")), []
            if not isinstance(of, int) or of * PIECE > MAX_BYTES + PIECE or any(len(buffer) > PIECE for buffer in buffers):
                self._upload, self._pieces = "", []
                self.on_too_large(name)
            elif self._upload != str(message.get("id")) or index != len(self._pieces) or len(buffers) != 1:
                self._upload, self._pieces = "", []
                self.on_broken(name)
            else:
                self._pieces.append(bytes(buffers[0]))
                if len(self._pieces) == of:
                    data, self._upload, self._pieces = b"".join(self._pieces), "", []
                    self.on_upload(data, name)


class Log(anywidget.AnyWidget):
    """The conversation. It is told what changed by messages, so that a long one costs no more than a short one."""

    _esm = HERE / "chat_log.js"
    _css = HERE / "chat.css"
    words = traitlets.Dict().tag(sync=True)

    def __init__(self, **values):
        self.on_hello: Callable[[], None] = _nothing
        self.on_action: Callable[[str, int], None] = _nothing
        self.view = ""
        super().__init__(**values)
        self.on_msg(lambda _, message, buffers: self.receive(message))

    def receive(self, message: dict) -> None:
        """What a browser sent: that a new view is there and knows nothing yet, or a button of an exchange."""
        kind, index = message.get("kind"), message.get("index")
        if kind == "hello":
            self.view = str(message.get("view"))
            self.on_hello()
        elif kind in ACTIONS and isinstance(index, int) and not isinstance(index, bool):
            self.on_action(kind, index)

    def hand_over(self, name: str, type: str, data: bytes) -> None:
        """Let the newest view's browser save a file."""
        self.send({"kind": "file", "name": name, "type": type, "view": self.view}, buffers=[data])


class Composer(anywidget.AnyWidget):
    """The field to ask in. editing: the number of the exchange that is being changed, or -1."""

    _esm = HERE / "chat_composer.js"
    words = traitlets.Dict().tag(sync=True)
    suggestions = traitlets.List().tag(sync=True)
    value = traitlets.Unicode("").tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    editing = traitlets.Int(-1).tag(sync=True)
    notice = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **values):
        self.on_ask: Callable[[str], None] = _nothing
        self.on_stop: Callable[[], None] = _nothing
        self.on_cancel_edit: Callable[[], None] = _nothing
        super().__init__(**values)
        self.on_msg(lambda _, message, buffers: self.receive(message))

    def receive(self, message: dict) -> None:
        """What a browser sent: a question, Stop, or that editing is given up."""
        kind = message.get("kind")
        if kind == "ask":
            self.on_ask(str(message.get("question", "")))
            self.send({"kind": "settled"})
        elif kind == "stop":
            self.on_stop()
        elif kind == "cancel_edit":
            self.on_cancel_edit()
