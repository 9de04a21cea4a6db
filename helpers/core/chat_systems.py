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

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from helpers.core.chat_decoding import Decoding
from helpers.core.chat_stream import Progress, stream_turns
from helpers.core.chat_turns import COMPLETE, STOPPED
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


class Base:
    """One loaded model and the adapters that hang in it. One answer at a time, since which adapter counts is the whole model's state."""

    def __init__(self, model: str):
        """Raises InputError when `model` is none."""
        self.source = model
        self.student = load_student(model)
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
                    self.student.model.load_adapter(str(adapter), adapter_name=name)
                else:
                    self.student.model = PeftModel.from_pretrained(self.student.model, adapter, adapter_name=name)
            except SafetensorError as error:
                raise InputError(f"{file.name} of {name} is damaged ({first_line(error)}); train it again.") from error
            except (RuntimeError, ValueError) as error:
                raise InputError(f"The adapter {name} was trained on another model ({first_line(error)}).") from error
            state = get_peft_model_state_dict(self.student.model, adapter_name=name)
            if {key: tuple(tensor.shape) for key, tensor in state.items()} != shapes:
                self.student.model.delete_adapter(name)
                raise InputError(f"The adapter {name} was trained on another model; its tensors do not fit.")
            self.student.model.to(self.student.device).eval()
        self.processors[name] = AutoProcessor.from_pretrained(adapter) if list(adapter.glob("*processor_config.json")) else self.student.processor

    def drop(self, name: str) -> None:
        """Take an adapter out; the model's own weights stay as they are."""
        with self._speaking:
            self.student.model.delete_adapter(name)
            self.processors.pop(name)

    def nbytes(self, name: str | None) -> int:
        """Bytes of the adapter `name`, or of the model without any."""
        tensors = list(self.student.model.named_parameters()) + list(self.student.model.named_buffers())
        owner = {id(tensor): next((key for key in self.processors if f".{key}." in f"{full}."), None) for full, tensor in tensors}
        return weigh(tensor for _, tensor in tensors if owner[id(tensor)] == name)

    @contextmanager
    def speaking(self, name: str | None) -> Iterator[Student]:
        """The student with the adapter `name` switched on, or with none."""
        with self._speaking:
            model = self.student.model
            if name is not None:
                model.set_adapter(name)
            off = model.disable_adapter() if name is None and self.processors else nullcontext()
            with off:
                # PEFT's own `generate` wants an adapter to be active; the model inside has them in its layers all the same.
                inside = model.get_base_model() if hasattr(model, "get_base_model") else model
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
        """Asks over the line; tokens are not told while streaming. Raises TeacherError when no answer comes."""
        yield from _grow(self.client.stream(picture, turns[-1].content, **decoding.parameters()), stop)

    def close(self) -> None:
        """End what was started for it."""
        self._at_close()


class OwnSystem:
    """Any object with `stream(picture, question)` → pieces, or `describe([picture], question)` → [answer]: a baseline, say."""

    def __init__(self, model: object, nbytes: int | None = None):
        parameters = getattr(model, "parameters", None)
        self.model, self.nbytes = model, nbytes if nbytes is not None else weigh(parameters()) if callable(parameters) else 0

    def stream(self, picture, turns: Sequence[Turn], decoding: Decoding, stop: threading.Event) -> Iterator[Progress]:
        """The last question's answer: in pieces where the model has them, else all at once. It reads no earlier turns."""
        question = turns[-1].content
        pieces = self.model.stream(picture, question) if hasattr(self.model, "stream") else iter(self.model.describe([picture], question))
        yield from _grow(pieces, stop)

    def close(self) -> None:
        """Nothing: whoever made the model keeps it."""


def _grow(pieces: Iterator[str], stop: threading.Event) -> Iterator[Progress]:
    """Pieces of text → what is there so far, until they end or `stop` is set."""
    asked, text, first, end = time.perf_counter(), "", None, COMPLETE
    try:
        for piece in pieces:
            text += piece
            first = first or time.perf_counter() - asked
            yield Progress(text, None, time.perf_counter() - asked, first)
            if stop.is_set():
                end = STOPPED
                break
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
    yield Progress(text.strip(), None, time.perf_counter() - asked, first, end)
