"""What *tiny* and *lab* mean: models, endpoint, sizes and epochs, read from data/profiles.yaml.

    data/profiles.yaml  --load_profile("tiny")-->  Profile(student, language, teacher, train, generate)

A profile is data. No helper asks for its name: the same code runs on a laptop against the offline stand-in and in a lab
against Qwen-VL, and only these values differ. `CAPTIONLAB_PROFILE` chooses the profile where a caller names none.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from helpers.core.errors import ProfileError
from helpers.core.paths import DATA, ROOT

PROFILES = DATA / "profiles.yaml"
DEFAULT = "tiny"
LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Teacher:
    """Who labels the pictures.

    `endpoint`: "standin" (the offline stand-in on 127.0.0.1), a base URL ending in /api/v1, or None for the one that the
    DashScope SDK would call. `rpm`: requests a minute, None for the key's own limit. `concurrency`: requests under way at once.
    """

    model: str
    endpoint: str | None
    rpm: int | None
    concurrency: int


@dataclass(frozen=True)
class Lora:
    """Training of adapters: passes over the data, peak learning rate, rank r and alpha (the update is scaled by alpha / r)."""

    epochs: float
    learning_rate: float
    rank: int
    alpha: int


@dataclass(frozen=True)
class Full:
    """Training of all parameters: passes over the data and peak learning rate."""

    epochs: float
    learning_rate: float


@dataclass(frozen=True)
class Train:
    """How training runs: one step sees processes × micro_batch_size × accumulation samples of at most `max_length` tokens."""

    processes: int
    micro_batch_size: int
    accumulation: int
    max_length: int
    lora: Lora
    full: Full


@dataclass(frozen=True)
class BaselineTraining:
    """Training of the CNN-RNN baseline: its encoder (one of `helpers.baseline.ENCODERS`), passes over the data, samples a step, peak learning
    rate, and how often a word must be in the captions to be learned."""

    encoder: str
    epochs: int
    batch_size: int
    learning_rate: float
    least: int

    @property
    def told(self) -> str:
        """For people to read."""
        return f"{self.encoder} encoder, {self.epochs} epochs at {self.learning_rate:g}, words seen {self.least} time(s) or more"


@dataclass(frozen=True)
class Generate:
    """How a student describes: pictures per batch, longest answer in tokens, beams (1: greedy)."""

    batch_size: int
    max_new_tokens: int
    num_beams: int


@dataclass(frozen=True)
class Profile:
    """Everything that differs between a laptop and a lab. `student`: a folder, or a model id on the Hugging Face hub."""

    name: str
    student: str
    language: str
    teacher: Teacher
    train: Train
    generate: Generate
    baseline: BaselineTraining

    @property
    def offline(self) -> bool:
        """Whether the teacher is the offline stand-in, whose words are not Qwen-VL's."""
        return self.teacher.endpoint == "standin"

    def require_key(self) -> None:
        """Make sure that the teacher can be asked at all.

        Raises: ProfileError when the teacher is a real endpoint and there is no key where the DashScope SDK looks for one.
        """
        from helpers.core.endpoints import read_key

        if not self.offline and not read_key():
            raise ProfileError(
                f"profile {self.name} asks {self.teacher.model} over DashScope, which needs a key: set DASHSCOPE_API_KEY, "
                f"or use the {DEFAULT} profile, which needs none."
            )

    def rows(self) -> list[tuple[str, str]]:
        """(name, value) pairs for people to read; a folder of this repository is named from its root."""
        student = Path(self.student)
        train, teacher = self.train, self.teacher
        batch = train.processes * train.micro_batch_size * train.accumulation
        return [
            ("profile", self.name),
            ("student", student.relative_to(ROOT).as_posix() if student.is_relative_to(ROOT) else self.student),
            ("teacher", f"{teacher.model}, answered by the offline stand-in, not Qwen-VL" if self.offline else teacher.model),
            ("language", self.language),
            ("baseline", self.baseline.told),
            ("training", f"{train.processes} processes, {batch} samples a step, up to {train.max_length} tokens each"),
            ("LoRA", f"rank {train.lora.rank}, {train.lora.epochs:g} epochs at {train.lora.learning_rate:g}"),
            ("full", f"{train.full.epochs:g} epochs at {train.full.learning_rate:g}"),
            ("describing", f"{self.generate.batch_size} pictures a batch, {self.generate.num_beams} beam(s)"),
        ]


def profile_names(path: Path = PROFILES) -> list[str]:
    """The names that `load_profile` accepts. Raises: ProfileError when the file cannot be read."""
    return list(_read(path))


def load_profile(name: str | None = None, path: Path = PROFILES) -> Profile:
    """The profile called `name`; without a name, the one that CAPTIONLAB_PROFILE names, or else tiny.

    Raises: ProfileError for an unknown name, and for a key or value in the file that is missing, unknown or of a wrong type.
    """
    profiles = _read(path)
    asked = name or os.environ.get("CAPTIONLAB_PROFILE") or DEFAULT
    if asked not in profiles:
        chosen = "" if name or asked == DEFAULT else " (from CAPTIONLAB_PROFILE)"
        raise ProfileError(f"there is no profile {asked!r}{chosen}; choose one of: {', '.join(profiles)}.")
    values = profiles[asked]
    if not isinstance(values, dict):
        raise ProfileError(f"{path.name}: {asked} must hold keys and values.")
    profile = _build(Profile, {"name": asked, **_resolved(values)}, f"{path.name}: {asked}")
    if profile.language not in LANGUAGES:
        raise ProfileError(f"{path.name}: {asked}.language is {profile.language!r}; choose one of: {', '.join(LANGUAGES)}.")
    return profile


def _read(path: Path) -> dict[str, Any]:
    """The file as a mapping from a profile's name to its values."""
    import yaml

    try:
        profiles = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProfileError(f"{path.name} is missing from {path.parent.name}/; get it back with git checkout.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ProfileError(f"{path.name} cannot be read: {reason}") from error
    if not isinstance(profiles, dict) or not profiles:
        raise ProfileError(f"{path.name} holds no profile; get it back with git checkout.")
    return profiles


def _resolved(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the words that stand for something else on every machine replaced by what they mean on this one."""
    values = dict(values)
    student = values.get("student")
    # "organisation/model" is a hub id unless the repository has such a folder; data/… is always meant as a folder.
    if isinstance(student, str) and (student.startswith("data/") or (ROOT / student).is_dir()):
        values["student"] = str(ROOT / student)
    if isinstance(values.get("teacher"), dict) and values["teacher"].get("endpoint") == "default":
        values["teacher"] = {**values["teacher"], "endpoint": None}
    if isinstance(values.get("train"), dict) and values["train"].get("processes") == "auto":
        values["train"] = {**values["train"], "processes": _processes()}
    return values


def _processes() -> int:
    """One training process for each GPU; two on a machine without any, as finetune/launch.sh does."""
    import torch

    return torch.cuda.device_count() or 2


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    """A dataclass of `kind` from a mapping, every key and type checked. `where` names the place in the file."""
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            raise ProfileError(f"{where} has an unknown key {key!r}; known here: {', '.join(known)}.")
    for field in fields(kind):
        if field.name not in values and field.default is MISSING:
            raise ProfileError(f"{where} lacks the key {field.name!r}.")
    return kind(**{key: _check(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def _check(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind` (a dataclass, str, int, float, or one of these or None); numbers must be above zero."""
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ProfileError(f"{where} must hold keys and values, not {value!r}.")
        return _build(kind, value, where)
    allowed = get_args(kind) or (kind,)
    if value is None and type(None) in allowed:
        return None
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, tuple(k for k in allowed if k is not type(None))):
        names = " or ".join("null" if k is type(None) else k.__name__ for k in allowed)
        raise ProfileError(f"{where} must be {names}, not {value!r}.")
    if isinstance(value, (int, float)) and value <= 0:
        raise ProfileError(f"{where} must be above zero, not {value!r}.")
    return value
