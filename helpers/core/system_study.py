"""The study of systems: pretrained, LoRA, full, a baseline, any number of named models, each led through all that can go wrong.

    {name: folder} --systems_study--> every system asked about every set (robustness.py), the lessons of pretraining (forgetting.py) and
                                      the kit's photographs --> what <out>/systems.json holds

One station a system and set (stations.py); the answers lie in <out>/answers/<system>/<set>.json, tokens and probabilities included, so that
a killed run goes on and another question about the same answers asks nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.core import runs
from helpers.core.calibration import object_probabilities
from helpers.core.corruptions import CORRUPTIONS
from helpers.core.errors import InputError
from helpers.core.forgetting import Asked, compare, make_exam, sit
from helpers.core.intervals import Estimate
from helpers.core.paths import STUDENT
from helpers.core.photos import load_photos
from helpers.core.prompts import question
from helpers.core.robustness import Answer, TestSet, ask, survey, test_sets
from helpers.core.splits import SPLITS
from helpers.core.stations import Stations
from helpers.core.student import Student, load_student
from helpers.core.study import finished

PRETRAINED = "pretrained"


@dataclass(frozen=True)
class SystemSetup:
    """What the systems are asked. number: base plans of the splits.  corrupted: pictures of each corruption and strength.
    asked: questions of each part of the lessons of pretraining.  training_seed: of the course's scenes, for the split "seen"."""

    number: int = 150
    corrupted: int = 100
    asked: int = 60
    splits: tuple[str, ...] = tuple(SPLITS)
    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    language: str = "en"
    training_seed: int = 0
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        if min(self.number, self.corrupted, self.asked) < 2:
            raise InputError(f"A study needs at least 2 pictures a split, 2 a corruption and 2 questions a part; not {self.number}, {self.corrupted} and {self.asked}.")

    @property
    def options(self) -> str:
        """What `captionlab study systems` must be told to ask this again, where it is not the default."""
        usual = SystemSetup()
        names = ("number", "corrupted", "asked", "language")
        return "".join(f" --{name} {getattr(self, name)}" for name in names if getattr(self, name) != getattr(usual, name))


def open_system(place: str | Path) -> Student:
    """Load a system: "tiny", a model's folder or hub id, or the folder of a LoRA run, which knows its model. Raises InputError."""
    folder = Path(place)
    if (folder / "adapter_config.json").is_file():
        run = runs.read_json(folder / runs.FINISHED)
        model = run["model"] if run else json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        return load_student(model, folder)
    return load_student(place)


def find_systems(results: str | Path, student: str) -> dict[str, str]:
    """{name: place}: the pretrained `student`, and every system that a course has trained in the folder `results`."""
    found = {path.parent.name: str(path) for path in sorted(Path(results).glob("*/model"))
             if list(path.glob("*.safetensors")) and ((path / runs.FINISHED).is_file() or not (path / runs.SETTINGS).is_file())}
    order = {"lora": 0, "full": 1}
    return {PRETRAINED: student} | {name: found[name] for name in sorted(found, key=lambda name: (order.get(name, 2), name))}


def parse_systems(named: Sequence[str]) -> dict[str, str]:
    """{"lora": "results/lora/model"} from ["lora=results/lora/model"]. Raises InputError for a name without a folder, or given twice."""
    systems: dict[str, str] = {}
    for word in named:
        name, equals, place = word.partition("=")
        if not (name and equals and place) or "/" in name:
            raise InputError(f"--system {word} names no system; write a name and a folder, as in --system lora=results/lora/model.")
        if name in systems:
            raise InputError(f"Two systems are called {name!r}; give each a name of its own.")
        systems[name] = place
    return systems


def describe_origin(place: str) -> dict:
    """What is known of how a system came to be: strategy, samples a second and steps of its run, the best known; empty for a model as it is."""
    run, settings = (runs.read_json(Path(place) / name) if Path(place).is_dir() else None for name in (runs.FINISHED, runs.SETTINGS))
    if not run or not settings:
        return {}
    return {"strategy": run.get("strategy"), "steps": run.get("steps"), "epochs": settings.get("num_train_epochs"), "learning_rate": settings.get("learning_rate")}


class _Answers:
    """The answers of all systems, on the disk; a system is loaded once, when the first of its answers is missing."""

    def __init__(self, out: Path, stations: Stations, systems: Mapping[str, str], setup: SystemSetup):
        self.out, self.stations, self.systems, self.setup = out, stations, systems, setup
        self.loaded: tuple[str, Student] | None = None

    def student(self, name: str) -> Student:
        if self.loaded is None or self.loaded[0] != name:
            self.loaded = None  # one at a time in memory
            self.loaded = name, open_system(self.systems[name])
        return self.loaded[1]

    def get(self, name: str, what: str, work: Callable[[Student], object], settings: Mapping) -> object:
        """The JSON value of `work(student)`: from the file if it was done before."""
        file = self.out / "answers" / name / f"{what.replace(' ', '-')}.json"

        def station() -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            runs.write_json(file, {"value": work(self.student(name))})

        self.stations.run(f"{name}: {what}", station, outputs=[file], wipe=[file],
                          settings={"system": digest_system(self.systems[name]), "language": self.setup.language, **settings})
        return runs.read_json(file)["value"]


def digest_system(place: str) -> str:
    """What makes a system: its weights, and those of the model below an adapter."""
    folder = Path(place)
    run = runs.read_json(folder / runs.FINISHED) if (folder / "adapter_config.json").is_file() else None
    return runs.digest_model(str(STUDENT) if place == "tiny" else place) + (runs.digest_model(run["model"]) if run else "")


def systems_study(systems: Mapping[str, str], out: str | Path, setup: SystemSetup = SystemSetup(), say: Callable[[str], None] = print) -> dict:
    """Ask every system everything; returns what systems.json holds: `robustness.survey`'s result, and "forgetting" and "photos".

    systems: {name: place}, "pretrained" among them if forgetting is to be told.  Raises InputError for a system that cannot be loaded,
    ResourceError where `out` cannot be used.
    """
    if not systems:
        raise InputError("There is no system to study; name one with --system NAME=FOLDER.")
    sets = test_sets(setup.number, setup.corrupted, setup.splits, setup.corruptions, training_seed=setup.training_seed)
    exam = make_exam(setup.asked)
    with Stations(Path(out), total=len(systems) * (len(sets) + 2), say=say) as stations:
        answers = _Answers(Path(out), stations, systems, setup)
        said, replies, photos = {}, {}, {}
        for name in systems:
            said[name] = _ask_all(answers, name, sets)
            found = answers.get(name, "lessons", lambda student: sit(student, exam, progress=f"{name}, lessons") if isinstance(student, Student) else None,
                                {"questions": [one.question + one.answer for one in exam]})
            if found:  # a captioner without a way for questions has none
                replies[name] = found
            photos[name] = answers.get(name, "photographs", lambda student: look_at_photos(student, setup), {"question": question("main", setup.language)})
    result = {"systems": {name: describe_origin(place) for name, place in systems.items()}, **survey(said, sets, setup.language),
              "forgetting": told(exam, replies), "photos": photos}
    return finished("systems", "captionlab study systems" + setup.options, asdict(setup), result)


def _ask_all(answers: _Answers, name: str, sets: Mapping[str, TestSet]) -> dict[str, list[Answer]]:
    """One system's answers to every set."""
    setup, found = answers.setup, {}
    for what, one in sets.items():
        key = {"pictures": [case.scene.to_json() for case in one.cases], "corruption": one.corruption, "max_new_tokens": setup.max_new_tokens}
        rows = answers.get(name, what, lambda student, one=one: [[a.id, a.text, a.pieces] for a in ask(
            student, one, setup.language, max_new_tokens=setup.max_new_tokens, progress=f"{name}, {one.name}")], {"digest": _digest(key)})
        found[what] = [Answer(identity, text, tuple((piece, p) for piece, p in pieces)) for identity, text, pieces in rows]
    return found


def _digest(value: object) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def look_at_photos(student, setup: SystemSetup) -> dict[str, dict]:
    """What a system says of each of the kit's photographs, and the mean probability of the things that it names."""
    photos, found = load_photos(), {}
    said = student.describe_with_probabilities([photo.path for photo in photos], question("main", setup.language), max_new_tokens=setup.max_new_tokens)
    for photo, (text, pieces) in zip(photos, said):
        sure = object_probabilities(text, pieces, setup.language)
        found[photo.name] = {"text": text, "named": len(sure), "confidence": round(sum(sure) / len(sure), 4) if sure else None}
    return found


def told(exam: Sequence[Asked], replies: Mapping[str, Sequence[str]]) -> dict:
    """`forgetting.compare` as plain numbers; empty without the pretrained system or without another one."""
    if PRETRAINED not in replies or len(replies) < 2:
        return {}
    pair = ("lora", "full") if {"lora", "full"} <= set(replies) else None

    def plain(value):
        if isinstance(value, Estimate):
            return [round(part, 4) for part in (value.value, value.low, value.high)]
        return {name: plain(inner) for name, inner in value.items()} if isinstance(value, Mapping) else round(value, 4)

    found = plain(compare(exam, replies, PRETRAINED, pair))
    shown = [i for i, one in enumerate(exam) if one.language == "en"][:: max(1, len(exam) // 16)][:8]
    return found | {"questions": len(exam), "examples": [{"question": exam[i].question, "taught": exam[i].answer,
                                                          **{name: said[i] for name, said in replies.items()}} for i in shown]}
