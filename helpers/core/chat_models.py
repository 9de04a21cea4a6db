"""Which systems a chat can ask, and which of them are in memory: chosen ones are loaded in the background, others given back.

    find_offers(profile, results)  →  [Offer("pretrained"), Offer("lora"), Offer("full"), Offer("baseline"), Offer("teacher")]
    Models(offers).choose(["pretrained", "lora"])  →  states go absent → loading → ready; `get` waits for one

A system that is not there (nothing trained yet, no key) is offered all the same, with `missing`: what to do to have it.
Systems that need the same model share it: `lora` after `pretrained` loads the adapter alone.
Weights are read through safetensors, which maps the file: kernels that load the same file read it from disk once. The
tensors themselves are each process's own.
"""

from __future__ import annotations

import gc
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from helpers.core.chat_systems import Base, OwnSystem, StudentSystem, System, TeacherSystem
from helpers.core.chat_words import Told, explain
from helpers.core.errors import InputError
from helpers.core.machine import read_weights
from helpers.core.runs import digest_model, load_run
from helpers.core.student import choose_device

if TYPE_CHECKING:
    from helpers.core.profiles import Profile

ABSENT, BUSY, READY, BROKEN = "absent", "loading", "ready", "failed"
COURSE = "captionlab course"
GIB = 2**30


NOT_TRAINED = {"en": f"not trained yet: run {COURSE}", "zh": f"尚未训练：请运行 {COURSE}"}


@dataclass(frozen=True)
class Offer:
    """A system that may be chosen. label, note[language]: its name and one line on what it is.  missing[language]: why it cannot be
    chosen, and what to do; None where it can.  model, adapter: what a student is loaded from.  open: makes any other system."""

    key: str
    label: Mapping[str, str]
    note: Mapping[str, str]
    missing: Mapping[str, str] | None = None
    model: str | None = None
    adapter: Path | None = None
    open: Callable[[], System] | None = None


def find_offers(profile: Profile, results: Path | str, scenes: Path | str | None = None, others: Mapping[str, object] | None = None) -> list[Offer]:
    """What a profile and a finished course offer.

    results: the folder that `captionlab course` writes.  scenes: where the stand-in finds the truth of the gallery's scenes.
    others: {name: model}, objects with `stream(picture, question)` or `describe([picture], question)`.
    """
    offers = [Offer("pretrained", {"en": "Pretrained", "zh": "预训练"}, {"en": "the student before fine-tuning", "zh": "微调之前的学生模型"}, model=profile.student)]
    for strategy, label, note in (("lora", {"en": "LoRA", "zh": "LoRA"}, {"en": "fine-tuned with an adapter", "zh": "用适配器微调"}),
                                  ("full", {"en": "Full", "zh": "全参数"}, {"en": "fine-tuned in all its parameters", "zh": "全部参数微调"})):
        try:
            run = load_run(Path(results) / strategy / "model")
        except InputError:
            offers.append(Offer(strategy, label, note, NOT_TRAINED))
            continue
        offers.append(Offer(strategy, label, note, model=run.model_path, adapter=run.adapter_path))
    offers.append(_offer_baseline(Path(results) / "baseline" / "model"))
    for name, model in (others or {}).items():
        offers = [offer for offer in offers if offer.key != name]  # one's own takes the place of the course's
        offers.append(Offer(name, {"en": name, "zh": name}, {"en": "", "zh": ""}, open=lambda model=model: OwnSystem(model)))
    return [*offers, _offer_teacher(profile, scenes)]


def _offer_baseline(folder: Path) -> Offer:
    """The CNN-RNN captioner, where the course has trained one; it reads no question."""
    label = {"en": "CNN-RNN baseline", "zh": "CNN-RNN 基线"}
    note = {"en": "it reads no question and does not sample: it captions the picture, whatever is asked", "zh": "不读问题，也不采样：无论问什么，都只描述图片"}
    if not (folder / "config.json").is_file():  # written last
        return Offer("baseline", label, note, NOT_TRAINED)
    return Offer("baseline", label, note, open=lambda: _open_baseline(folder))


def _open_baseline(folder: Path) -> OwnSystem:
    from helpers.core.baseline_student import load_baseline  # with torch, which a page's kernel does without

    return OwnSystem(load_baseline(folder))


def _offer_teacher(profile: Profile, scenes: Path | str | None) -> Offer:
    """Qwen-VL where the profile asks it and there is a key; the stand-in, called so, where the profile has that."""
    from helpers.core.endpoints import read_key

    teacher = profile.teacher
    if profile.offline:
        return Offer("teacher", {"en": "Offline stand-in, not Qwen-VL", "zh": "离线替身，不是 Qwen-VL"},
                     {"en": "it knows what the pictures hold, and is no model", "zh": "它知道图片内容，不是模型"},
                     open=lambda: _open_stand_in(teacher.model, scenes))
    missing = None if read_key() else {"en": "needs a key: set DASHSCOPE_API_KEY", "zh": "需要密钥：请设置 DASHSCOPE_API_KEY"}
    return Offer("teacher", {"en": teacher.model, "zh": teacher.model}, {"en": "Qwen-VL over DashScope; every question is paid for", "zh": "通过 DashScope 的 Qwen-VL；每个问题都要付费"},
                 missing, open=lambda: TeacherSystem(_client(teacher.model, teacher.endpoint)))


def _client(model: str, endpoint: str | None, key: str | None = None):
    import dashscope  # noqa: F401  three seconds that belong to loading, not to the first answer

    from helpers.core.qwen_vl import QwenVL

    return QwenVL(model, endpoint, key, tries=2)


def _open_stand_in(model: str, scenes: Path | str | None) -> TeacherSystem:
    """Start the stand-in in this process, and a client that talks to it."""
    from helpers.core.standin import KEY, StandIn

    server = StandIn(scenes).start()
    return TeacherSystem(_client(model, server.base_url, KEY), server.stop)


class Models:
    """The offers, and the systems that are in memory. Thread-safe; loads one at a time, in a thread of its own.

    told: called, from any thread, whenever a state changed.  shared: whether the weights are held for others too (core/chat_sharing.py).
    """

    shared = False

    def __init__(self, offers: Iterable[Offer], told: Callable[[], None] = lambda: None):
        self.offers = {offer.key: offer for offer in offers}
        self.told = told
        self.failures: dict[str, BaseException] = {}
        self._chosen: list[str] = []
        self._systems: dict[str, Future[System]] = {}
        self._bases: dict[str, Base] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._lock = threading.RLock()

    @property
    def chosen(self) -> list[str]:
        """The keys that are chosen, in the offers' order."""
        return list(self._chosen)

    def choose(self, keys: Sequence[str]) -> None:
        """Give the others back and load these, in the background; returns at once. Raises InputError for one that cannot be chosen."""
        for key in keys:
            if key not in self.offers:
                raise InputError(f"there is no system {key!r}: choose from {', '.join(self.offers)}")
            if missing := self.offers[key].missing:
                raise InputError(f"{key} is {missing['en']}")
        with self._lock:
            self._chosen = [key for key in self.offers if key in keys]
            self._pool.submit(self._release)  # before the loading: both at once may not fit
            for key in self._chosen:
                if key not in self._systems or self.state(key) == BROKEN:
                    self.failures.pop(key, None)
                    self._systems[key] = self._start(key)
        self.told()

    def state(self, key: str) -> str:
        """ABSENT, BUSY, READY or BROKEN."""
        with self._lock:
            future = self._systems.get(key)
            if future is None:
                return ABSENT
            return BUSY if not future.done() else BROKEN if key in self.failures else READY

    def get(self, key: str, stop: threading.Event | None = None) -> System | None:
        """The system, loaded; waits for it. None when `stop` was set meanwhile. Raises what loading raised."""
        while stop is None or not stop.is_set():
            with self._lock:
                future = self._systems.get(key) or self._systems.setdefault(key, self._start(key))
            try:
                return future.result(timeout=0.1)
            except CancelledError:  # unticked before it was loaded; whoever asked it waits for it all the same
                continue
            except TimeoutError:
                if future.done():  # loading itself timed out
                    raise
        return None

    def why(self, key: str, language: str) -> str:
        """Why a system could not be loaded, in one sentence; "" where it could."""
        return explain(self.failures[key], language) if key in self.failures else ""

    def wait(self) -> None:
        """Until nothing is being loaded or given back."""
        self._pool.submit(lambda: None).result()

    def memory(self) -> dict[str, int]:
        """Bytes of the weights in memory: {key: bytes}, and under "base" of models that only carry adapters."""
        with self._lock:
            ready = {key: self._systems[key].result() for key in self._systems if self.state(key) == READY}
            bare = {id(base): base for base in self._bases.values()}
        held = {key: system.nbytes for key, system in ready.items()}
        for system in ready.values():
            if isinstance(system, StudentSystem) and system.name is None:
                bare.pop(id(system.base), None)
        below = sum(base.nbytes(None) for base in bare.values())
        return held | ({"base": below} if below else {})

    def close(self) -> None:
        """Give everything back and end the loading thread."""
        with self._lock:
            self._chosen = []
        self._pool.submit(self._release)
        self._pool.shutdown(wait=True)

    def _start(self, key: str) -> Future[System]:
        future = self._pool.submit(self._load, key)
        future.add_done_callback(lambda _: self.told())
        return future

    def _load(self, key: str) -> System:
        """Load one system; runs in the pool's thread."""
        self.told()
        offer = self.offers[key]
        try:
            if offer.open is not None:
                return offer.open()
            with warnings.catch_warnings():  # what the libraries tell their programmers is no news for whoever chats
                warnings.simplefilter("ignore", FutureWarning)
                base = self._base(offer)
                if offer.adapter is not None:
                    base.add(Path(offer.adapter), key)
            return StudentSystem(base, key if offer.adapter is not None else None)
        except Exception as error:
            forget_frames(error)
            self.failures[key] = error
            raise

    def _base(self, offer: Offer) -> Base:
        """The offer's model, loaded once however it is named. Raises Told where there is no room for it."""
        model = offer.model
        for known, base in self._bases.items():
            if same_model(known, model):
                return base
        device = choose_device()
        needed, free = needed_bytes(model, device), free_bytes(device)
        if needed > free:
            en, zh = offer.label["en"], offer.label["zh"]
            raise Told(f"{en} needs {needed / GIB:.1f} GiB of memory and {free / GIB:.1f} are free: untick another model first, or end other programs.",
                       f"{zh}需要 {needed / GIB:.1f} GiB 内存，而可用的只有 {free / GIB:.1f}：请先取消勾选其他模型，或结束其他程序。")
        self._bases[model] = Base(model)
        return self._bases[model]

    def _release(self) -> None:
        """Give back what is not chosen any more; runs in the pool's thread, so after all loading that was asked for before."""
        with self._lock:
            away = [key for key in self._systems if key not in self._chosen]
            futures = [self._systems.pop(key) for key in away]
            needed = {self.offers[key].model for key in self._chosen} - {None}
        for key, future in zip(away, futures):
            self.failures.pop(key, None)
            if not future.cancel() and future.exception() is None:  # one that is not loaded yet need not be any more
                future.result().close()
        with self._lock:
            self._bases = {model: base for model, base in self._bases.items() if any(same_model(model, other) for other in needed)}
        del futures
        if away:
            gc.collect()
            self.told()


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same weights. Large files are read once as long as they stay as they are."""
    return one == other or Path(one).is_dir() and Path(other).is_dir() and _digest(one, _changed(one)) == _digest(other, _changed(other))


@lru_cache(maxsize=16)
def _digest(model: str, changed: int) -> str:
    return digest_model(model)


def _changed(model: str) -> int:
    """When a file of a folder was last written."""
    return max((path.stat().st_mtime_ns for path in Path(model).iterdir()), default=0)


def needed_bytes(model: str, device: str) -> int:
    """Bytes that a model's weights will take on a device: parameters times 4 on a CPU, times 2 on a GPU; 0 for one that is not on this machine yet."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(model)
    if not folder.is_dir():
        config = try_to_load_from_cache(model, "config.json") if model.count("/") == 1 else None
        folder = Path(config).parent if isinstance(config, str) else folder
    parameters = 0
    for file in folder.glob("*.safetensors"):
        with suppress(ValueError, OSError):  # a file that is damaged is told of when it is loaded
            parameters += read_weights(file)[0]
    return parameters * (4 if device == "cpu" else 2)


def free_bytes(device: str) -> int:
    """Bytes of memory that are free on a device."""
    if device == "cpu":
        return psutil.virtual_memory().available
    import torch

    return torch.cuda.mem_get_info(device)[0]


def forget_frames(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold: kept errors would keep half a model in memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
