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
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.chat_systems import Base, OwnSystem, StudentSystem, System, TeacherSystem
from helpers.core.errors import CaptionLabError, InputError
from helpers.core.runs import digest_model, load_run

if TYPE_CHECKING:
    from helpers.core.profiles import Profile

ABSENT, BUSY, READY, BROKEN = "absent", "loading", "ready", "failed"
COURSE = "captionlab course"


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
            remedy = {"en": f"not trained yet: run `{COURSE}`", "zh": f"尚未训练：请运行 `{COURSE}`"}
            offers.append(Offer(strategy, label, note, remedy))
            continue
        offers.append(Offer(strategy, label, note, model=run.model_path, adapter=run.adapter_path))
    offers.append(_offer_baseline(Path(results) / "baseline" / "model"))
    for name, model in (others or {}).items():
        offers.append(Offer(name, {"en": name, "zh": name}, {"en": "", "zh": ""}, open=lambda model=model: OwnSystem(model)))
    return [*offers, _offer_teacher(profile, scenes)]


def _offer_baseline(folder: Path) -> Offer:
    """The CNN-RNN captioner of the course, which reads no question."""
    from helpers.core.baseline_student import is_baseline, load_baseline

    label, note = {"en": "CNN-RNN", "zh": "CNN-RNN"}, {"en": "the baseline: it reads no question, and captions the picture whatever is asked",
                                                       "zh": "基线模型：不读问题，无论问什么都只描述图片"}
    if not is_baseline(folder):
        return Offer("baseline", label, note, {"en": f"not trained yet: run `{COURSE}`", "zh": f"尚未训练：请运行 `{COURSE}`"})
    return Offer("baseline", label, note, open=lambda: OwnSystem(load_baseline(folder)))


def _offer_teacher(profile: Profile, scenes: Path | str | None) -> Offer:
    """Qwen-VL where the profile asks it and there is a key; the stand-in, called so, where the profile has that."""
    from helpers.core.endpoints import read_key

    teacher = profile.teacher
    if profile.offline:
        return Offer("teacher", {"en": "Stand-in, not Qwen-VL", "zh": "替身，不是 Qwen-VL"},
                     {"en": "the offline stand-in: it knows the pictures' contents, and is no model", "zh": "离线替身：它知道图片内容，不是模型"},
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

    told: called, from any thread, whenever a state changed.
    """

    def __init__(self, offers: Iterable[Offer], told: Callable[[], None] = lambda: None):
        self.offers = {offer.key: offer for offer in offers}
        self.told = told
        self.failures: dict[str, str] = {}
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
        """Load these in the background and give the others back; returns at once. Raises InputError for one that cannot be chosen."""
        for key in keys:
            if key not in self.offers:
                raise InputError(f"there is no system {key!r}: choose from {', '.join(self.offers)}")
            if missing := self.offers[key].missing:
                raise InputError(f"{key} is {missing['en']}")
        with self._lock:
            self._chosen = [key for key in self.offers if key in keys]
            for key in self._chosen:
                if key not in self._systems or self.state(key) == BROKEN:
                    self.failures.pop(key, None)
                    self._systems[key] = self._start(key)
            self._pool.submit(self._release)
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
        with self._lock:
            future = self._systems.get(key) or self._systems.setdefault(key, self._start(key))
        while stop is None or not stop.is_set():
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                if future.done():  # loading itself timed out
                    raise
        return None

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
                base = self._base(offer.model)
                if offer.adapter is not None:
                    base.add(Path(offer.adapter), key)
            return StudentSystem(base, key if offer.adapter is not None else None)
        except Exception as error:
            self.failures[key] = str(error) if isinstance(error, CaptionLabError) else f"{type(error).__name__}: {error}"
            raise

    def _base(self, model: str) -> Base:
        """The model, loaded once however it is named."""
        for known, base in self._bases.items():
            if known == model or Path(model).is_dir() and Path(known).is_dir() and digest_model(known) == digest_model(model):
                return base
        self._bases[model] = Base(model)
        return self._bases[model]

    def _release(self) -> None:
        """Give back what is not chosen any more; runs in the pool's thread, so after all loading that was asked for before."""
        with self._lock:
            away = [key for key in self._systems if key not in self._chosen]
            futures = [self._systems.pop(key) for key in away]
        for key, future in zip(away, futures):
            self.failures.pop(key, None)
            if future.done() and future.exception() is None:
                future.result().close()
        with self._lock:
            used = {id(future.result().base) for future in self._systems.values() if future.done() and future.exception() is None
                    and isinstance(future.result(), StudentSystem)}
            self._bases = {model: base for model, base in self._bases.items() if id(base) in used}
        del futures
        if away:
            gc.collect()
            self.told()
