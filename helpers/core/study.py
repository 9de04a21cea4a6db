"""Studies: many small students trained one after the other, each on data that differ in one thing, all examined on the same scenes.

    labels of the training scenes --Study.examine--> a student trained on them, its words about the evaluation scenes --> Statistic
    everything together           --write_study-->   <out>/<name>.json: the numbers, the command that makes them again, date and versions

The noise study asks how good a teacher's labels must be (label_noise.py). Each training is one station (stations.py): killed at any moment, the
same command goes on where it was. Models are deleted once they have been examined; their words are kept.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from helpers.core.conversations import Sample, read_conversations, write_conversations, write_text
from helpers.core.describing import describe_to_file
from helpers.core.drops import as_numbers, drop, estimates, statistic, together
from helpers.core.errors import InputError
from helpers.core.label_noise import MANNERS, false_share, spoil
from helpers.core.paths import DATA, STUDENT
from helpers.core.plain_training import fine_tune
from helpers.core.profiles import Generate
from helpers.core.prompts import question
from helpers.core.runs import digest_model
from helpers.core.scenes import Scene, draw_scenes
from helpers.core.significance import Statistic
from helpers.core.speech import answer
from helpers.core.stations import Stations
from helpers.core.student import load_student

STUDIES = DATA / "studies"
PACKAGES = ("captionlab", "torch", "transformers", "peft", "numpy")
SCENE_SEED = 21


@dataclass(frozen=True)
class Setup:
    """How a study trains and examines: scenes to learn from and to be examined with, passes, and a seed for each repetition.
    model: what is fine-tuned: "tiny", a folder or a hub id."""

    train: int = 480
    eval: int = 200
    epochs: float = 3
    seeds: tuple[int, ...] = (0, 1)
    model: str = "tiny"
    language: str = "en"
    learning_rates: Mapping[str, float] | None = None
    batch: int = 16
    threads: int = 1

    def __post_init__(self) -> None:
        if min(self.train, self.eval) < 2 or self.epochs <= 0 or not self.seeds:
            raise InputError(f"A study needs at least 2 scenes to learn from and 2 to be examined with, and a seed; not {self.train}, {self.eval} "
                             f"and {list(self.seeds)}.")

    def rate(self, strategy: str) -> float:
        """The peak learning rate of "lora" or "full"."""
        return (self.learning_rates or {"lora": 1.2e-3, "full": 5e-4})[strategy]

    @property
    def options(self) -> str:
        """What `captionlab study` must be told to run this again, where it is not the default."""
        usual, given = Setup(), {name: getattr(self, name) for name in ("train", "eval", "epochs", "model", "language")}
        told = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in given.items() if value != getattr(usual, name)}
        if self.seeds != usual.seeds:
            told["seeds"] = ",".join(map(str, self.seeds))
        return "".join(f" --{name} {value}" for name, value in told.items())


def parse_seeds(text: str) -> tuple[int, ...]:
    """(0, 1) from "0,1". Raises InputError for what is no list of whole numbers."""
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise InputError(f"--seeds {text} is no list of whole numbers; write them with commas, as in 0,1.") from None


def labelled(scene: Scene, believed: Scene, language: str) -> Sample:
    """The training sample of a scene: what a teacher says who believes it to be `believed`. Its path is seen from a folder beside scenes/."""
    return Sample(scene.id, f"scenes/{scene.file}", None, question("main", language), answer(believed, language, "main", "everything", seed=scene.id))


class Study:
    """The scenes of a study and the folder it works in; used inside of `Stations`."""

    def __init__(self, out: Path, setup: Setup, stations: Stations, pool: int | None = None):
        """pool: training scenes to draw, where a study chooses among more than it trains on."""
        self.out, self.setup, self.stations = Path(out), setup, stations
        self._drawn = {"train": pool or setup.train, "eval": setup.eval, "seed": SCENE_SEED}
        folder = self.out / "scenes"
        stations.run("scenes", lambda: len(draw_scenes(folder, self._drawn["train"], setup.eval, SCENE_SEED)), settings=self._drawn,
                     outputs=[folder / "scenes.jsonl"], wipe=[folder])
        scenes = draw_scenes(folder, self._drawn["train"], setup.eval, SCENE_SEED, progress=None)
        self.training, self.evaluation = scenes[:self._drawn["train"]], scenes[self._drawn["train"]:]

    def examine(self, name: str, samples: Sequence[Sample], strategy: str, seed: int) -> list[str]:
        """Train a student on `samples` and return its words about the evaluation scenes. name: of the station, and of its folder."""
        folder, setup = self.out / name.replace(" ", "-").replace("%", "percent").replace(",", ""), self.setup
        output, data = folder / "output.json", self.out / f"{folder.name}.json"
        place = str(STUDENT) if setup.model == "tiny" else setup.model
        generate = Generate(batch_size=32, max_new_tokens=128, num_beams=1)

        def work() -> None:
            write_conversations(data, samples)
            run = fine_tune(strategy, model=place, data=data, output_dir=folder / "model", epochs=setup.epochs, learning_rate=setup.rate(strategy), seed=seed,
                            batch=setup.batch, threads=setup.threads)
            asked = [Sample(scene.id, f"../scenes/{scene.file}", self.out / "scenes" / scene.file, question("main", setup.language), "")
                     for scene in self.evaluation]
            describe_to_file(lambda: load_student(run.model_path, run.adapter_path), asked, output, generate, "describing")
            shutil.rmtree(folder / "model")
            data.unlink()

        self.stations.run(name, work, after=["scenes"], outputs=[output], wipe=[folder], settings={
            "labels": [sample.answer for sample in samples], "strategy": strategy, "seed": seed, "epochs": setup.epochs, "batch": setup.batch,
            "learning_rate": setup.rate(strategy), "student": digest_model(place), "generate": asdict(generate)})
        return [sample.answer for sample in read_conversations(output, need_images=False)]

    def marks(self, words: Sequence[str]) -> Statistic:
        """The words about the evaluation scenes, held against the truth."""
        return statistic(words, self.evaluation, self.setup.language)


def noise_study(out: str | Path, setup: Setup = Setup(), shares: Sequence[float] = (0, 0.1, 0.2, 0.3, 0.4), manners: Sequence[str] = MANNERS,
                say: Callable[[str], None] = print) -> dict:
    """Train on labels out of which `shares` of the statements are false, in each of `manners`, once a seed; returns what noise.json holds.

    Raises InputError for settings that make no study, ResourceError where `out` cannot be used.
    """
    shares = sorted(set(shares))
    if not shares or shares[0] != 0 or shares[-1] > 1:
        raise InputError(f"The shares of false statements must begin with 0, to compare with, and end at 1 at the most; not {list(shares)}.")
    conditions = [("none", 0.0), *((manner, share) for manner in manners for share in shares if share)]
    with Stations(Path(out), total=1 + len(conditions) * len(setup.seeds), say=say) as stations:
        study, found, shares_found = Study(out, setup, stations), {}, {}
        for manner, share in conditions:
            one, real = [], []
            for seed in setup.seeds:
                spoiled = [spoil(scene, share, manner if share else MANNERS[0], seed) for scene in study.training]
                samples = [labelled(scene, teacher.scene, setup.language) for scene, teacher in zip(study.training, spoiled)]
                one.append(study.marks(study.examine(f"{manner} {share:.0%}, seed {seed}", samples, "full", seed)))
                real.append(false_share(spoiled))
            found[manner, share], shares_found[manner, share] = one, sum(real) / len(real)
    clean = together(found["none", 0.0])
    return finished("noise", "captionlab study noise" + setup.options, setup, {"conditions": [{
        "manner": manner, "share": share, "false_share": round(shares_found[manner, share], 4),
        "scores": as_numbers(estimates(together(one))), "drop": as_numbers(drop(clean, together(one))),
        "by_seed": {str(seed): {metric: value[0] for metric, value in as_numbers(estimates(part)).items()} for seed, part in zip(setup.seeds, one)},
    } for (manner, share), one in found.items()]})


def finished(name: str, command: str, setup: Setup | Mapping, result: Mapping) -> dict:
    """A study's result with what is needed to make it again."""
    return {"study": name, "command": command, "date": datetime.now(UTC).date().isoformat(), "python": platform.python_version(),
            "versions": {package: version(package) for package in PACKAGES}, "setup": asdict(setup) if isinstance(setup, Setup) else dict(setup), **result}


def write_study(result: Mapping, out: str | Path) -> Path:
    """Write <out>/<study>.json, whole or not at all; returns its path."""
    text = json.dumps(result, ensure_ascii=False, indent=1, default=list)
    # Lists of numbers on one line: half the size, and a change of one number is one line of a difference.
    numbers = re.compile(r"\[\s+((?:(?:-?[\d.e-]+|null),?\s+)+)\]")
    return write_text(Path(out) / f"{result['study']}.json", numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")


def read_study(name: str, own: str | Path | None = None) -> dict:
    """The result of a study: one's own in the folder `own` where there is one, else the one that comes with the kit.

    Raises InputError when neither is there, or the file is none of a study.
    """
    path = next((folder / f"{name}.json" for folder in ([Path(own)] if own else []) + [STUDIES] if (folder / f"{name}.json").is_file()), None)
    if path is None:
        raise InputError(f"There is no result of a study {name!r}; make it with `captionlab study {name}`.")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["study"] == name:
            return result
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} is not the result of a study {name!r}; make it again with `captionlab study {name}`.")
