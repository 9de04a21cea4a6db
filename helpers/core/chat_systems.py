"""Who can answer in a chat: a student with or without its adapter, the teacher, or anything that can describe a picture.

A system has

    stream(picture, turns, decoding, stop) → Progress, …     picture: PIL, RGB; turns: the conversation, the question last
    nbytes                                                    what it holds in this process's memory; 0 for one that answers elsewhere
    close()                                                   gives that back

A `Base` is one loaded model. Adapters are hung into it beside its own weights (`Base.add`), so that going from one to the
other, or to none, changes a pointer and loads nothing. PEFT keeps layers that were trained along whole (`modules_to_save`,
here the vision tower) as copies beside the original ones and switches them with the adapter.
"""

from __future__ import annotations

import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from helpers.core.chat_decoding import Decoding
from helpers.core.chat_stream import Progress, stream_turns
from helpers.core.chat_turns import COMPLETE, CUT, STOPPED
from helpers.core.conversations import Turn
from helpers.core.errors import InputError
from helpers.core.student import Student, first_line, load_student


class System(Protocol):
    """What the chat asks."""

    nbytes: int

    def stream(self, picture, turns: Sequence[Turn], decoding: Decoding, stop: threading.Event) -> Iterator[Progress]:
        """Answer the last of `turns`, told as it grows."""

    def close(self) -> None:
        """Give back what it holds."""


def weigh(tensors) -> int:
    """Bytes of the memory that tensors stand in; what several share counts once."""
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _inner(name: str) -> str:
    """What PEFT calls an adapter: it takes a name like "lora" for a part of its own names, and no name with a full stop."""
    return "adapter-" + name.replace(".", "-")


class Base:
    """One loaded model and the adapters that hang in it. One answer at a time, since which adapter counts is the whole model's state."""

    def __init__(self, model: str):
        """Raises InputError when `model` is none."""
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # a bar from a background thread would land in whatever cell ran last
        try:
            self.source, self.student = model, load_student(model)
        finally:
            if bars:
                logging.enable_progress_bar()
        self.processors: dict[str, object] = {}
        self._speaking = threading.Lock()

    def add(self, adapter: Path, name: str) -> None:
        """Hang in the adapter in the folder `adapter` as `name`. Raises InputError when it was trained on another model."""
        from peft import PeftModel, get_peft_model_state_dict
        from safetensors import SafetensorError, safe_open
        from transformers import AutoProcessor

        file = adapter / "adapter_model.safetensors"
        if not (adapter / "adapter_config.json").is_file() or not file.is_file():
            raise InputError(f"{adapter.name} is no adapter: adapter_config.json and adapter_model.safetensors make one.")
        with self._speaking:
            try:
                with safe_open(file, "pt") as saved:
                    shapes = {key: tuple(saved.get_slice(key).get_shape()) for key in saved.keys()}
                if isinstance(self.student.model, PeftModel):
                    self.student.model.load_adapter(str(adapter), adapter_name=_inner(name))
                else:
                    self.student.model = PeftModel.from_pretrained(self.student.model, adapter, adapter_name=_inner(name))
            except SafetensorError as error:
                raise InputError(f"{file.name} of {name} is damaged ({first_line(error)}); train it again.") from error
            except (RuntimeError, ValueError) as error:
                raise InputError(f"The adapter {name} was trained on another model ({first_line(error)}).") from error
            state = get_peft_model_state_dict(self.student.model, adapter_name=_inner(name))
            if {key: tuple(tensor.shape) for key, tensor in state.items()} != shapes:
                self.student.model.delete_adapter(_inner(name))
                if not self.processors:
                    self.student.model = self.student.model.unload()
                raise InputError(f"The adapter {name} was trained on another model; its tensors do not fit.")
            self.student.model.to(self.student.device).eval()
            self.processors[name] = AutoProcessor.from_pretrained(adapter) if list(adapter.glob("*processor_config.json")) else self.student.processor

    def drop(self, name: str) -> None:
        """Take an adapter out; the model's own weights stay as they are."""
        with self._speaking:
            self.student.model.delete_adapter(_inner(name))
            self.processors.pop(name)
            if not self.processors:  # with the last adapter the wrapping goes too: PEFT cannot hang a new one into an empty one
                self.student.model = self.student.model.unload()

    def nbytes(self, name: str | None) -> int:
        """Bytes of the adapter `name`, or of the model without any."""
        tensors = list(self.student.model.named_parameters()) + list(self.student.model.named_buffers())
        owner = {id(tensor): next((key for key in self.processors if f".{_inner(key)}." in f"{full}."), None) for full, tensor in tensors}
        return weigh(tensor for _, tensor in tensors if owner[id(tensor)] == name)

    @contextmanager
    def speaking(self, name: str | None) -> Iterator[Student]:
        """The student with the adapter `name` switched on, or with none."""
        with self._speaking:
            model = self.student.model
            if name is not None:
                model.set_adapter(_inner(name))
            off = model.disable_adapter() if name is None and self.processors else nullcontext()
            with off:
                # PEFT's own `generate` wants an adapter to be active; the model inside has them in its layers all the same.
                inside = model.base_model.model if hasattr(model, "peft_config") else model
                yield Student(inside, self.processors.get(name, self.student.processor), self.student.device, name or self.source)


class StudentSystem:
    """A model, or one of its adapters, as the chat asks it."""

    def __init__(self, base: Base, name: str | None):
        self.base, self.name = base, name

    @property
    def nbytes(self) -> int:
        """Bytes of its own weights; an adapter's without the model below it."""
        return self.base.nbytes(self.name)

    def stream(self, picture, turns: Sequence[Turn], decoding: Decoding, stop: threading.Event) -> Iterator[Progress]:
        """See `stream_turns`."""
        with self.base.speaking(self.name) as student:
            yield from stream_turns(student, picture, turns, decoding, stop)

    def close(self) -> None:
        """Take an adapter out of its model. A model itself goes when nothing names it any more."""
        if self.name is not None:
            self.base.drop(self.name)


class TeacherSystem:
    """Qwen-VL or its stand-in over the SDK. It is asked the last question alone: the request has room for one."""

    nbytes = 0

    def __init__(self, client, at_close: Callable[[], None] = lambda: None):
        self.client, self._at_close = client, at_close

    def stream(self, picture, turns: Sequence[Turn], decoding: Decoding, stop: threading.Event) -> Iterator[Progress]:
        """Asks over the line; the tokens are those that the service counts. Raises TeacherError when no answer comes."""
        usage: dict = {}
        pieces = self.client.stream(picture, turns[-1].content, told=usage.update, **decoding.parameters())
        for progress in grow(pieces, stop, lambda: usage.get("output_tokens")):
            cut = progress.end == COMPLETE and (progress.tokens or 0) >= decoding.max_new_tokens
            yield replace(progress, end=CUT) if cut else progress

    def close(self) -> None:
        """End what was started for it."""
        self._at_close()


class OwnSystem:
    """Any object with `describe([picture], question)` → [answer], or `stream(picture, question)` → pieces: a baseline, say.

    Of the chat's settings it gets those that its methods name, as `max_new_tokens` and `num_beams`.
    """

    def __init__(self, model: object, nbytes: int | None = None):
        self.model, self.nbytes = model, weigh(_parameters(model)) if nbytes is None else nbytes

    def stream(self, picture, turns: Sequence[Turn], decoding: Decoding, stop: threading.Event) -> Iterator[Progress]:
        """The last question's answer: in pieces where the model has them, else all at once. It reads no earlier turns.

        Several beams know their words only at the end, so they are asked of `describe`.
        """
        question, options = turns[-1].content, decoding.options()
        describe, pieces = getattr(self.model, "describe", None), getattr(self.model, "stream", None)
        if pieces is None or describe is not None and options.get("num_beams", 1) > 1:
            yield from grow(iter(describe([picture], question, **_taken(describe, options))), stop)
        else:
            options.pop("num_beams", None)
            yield from grow(pieces(picture, question, **_taken(pieces, options)), stop)

    def close(self) -> None:
        """Nothing: whoever made the model keeps it."""


def _parameters(model: object) -> list:
    """The tensors of an object with `parameters`, as torch modules and the baseline have them, or of what it carries as its `model`."""
    for owner in (model, getattr(model, "model", None)):
        if callable(getattr(owner, "parameters", None)):
            return [*owner.parameters(), *getattr(owner, "buffers", list)()]
    return []


def _taken(method: Callable, options: dict) -> dict:
    """Those of the options that a method names; what it takes unnamed it may not know."""
    names = inspect.signature(method).parameters
    return {name: value for name, value in options.items() if name in names}


def grow(pieces: Iterator[str], stop: threading.Event, tokens: Callable[[], int | None] = lambda: None) -> Iterator[Progress]:
    """Pieces of text → what is there so far, until they end or `stop` is set; a piece that does not come holds nobody up.
    tokens: how many the text has by now, where somebody counts."""
    asked, text, first, end = time.perf_counter(), "", None, COMPLETE
    arrived, left = queue.SimpleQueue(), threading.Event()

    def fetch() -> None:
        try:
            for piece in pieces:
                arrived.put(piece)
                if left.is_set():
                    break
            arrived.put(None)
        except BaseException as error:  # raised again below, where the caller can see it
            arrived.put(error)

    threading.Thread(target=fetch, name="fetch", daemon=True).start()
    try:
        while True:
            try:
                piece = arrived.get(timeout=0.1)
            except queue.Empty:
                piece = ""
            if isinstance(piece, BaseException):
                raise piece
            if piece is None or stop.is_set():
                end = STOPPED if stop.is_set() else COMPLETE
                break
            if piece:
                text += piece
                first = first or time.perf_counter() - asked
                yield Progress(text, tokens(), time.perf_counter() - asked, first)
    finally:
        left.set()
    yield Progress(text.strip(), tokens(), time.perf_counter() - asked, first, end)
