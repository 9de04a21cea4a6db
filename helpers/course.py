"""The whole course in one run: from drawn scenes, or a folder of pictures, to a table and a report.

    scenes -> label -> build -> train baseline -> describe baseline -> describe pretrained -> train lora -> train full
           -> describe lora -> describe full -> score

Each arrow is a file in the output folder, each station one call of a room that a notebook teaches; nothing here knows
more than their order. `helpers/core/stations.py` remembers what is finished, so that a run that was killed at any
moment goes on at the station it was killed in, and ends with the same table:

    out/scenes/…  labels-….sqlite  train.json  eval.json  <system>/model  <system>/output.json  <system>/metrics.json
    out/metrics.json (all systems)  truth.json (graded against the scenes)  report.html  course.json (the stations)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.core.conversations import Sample, read_conversations
from helpers.core.errors import InputError
from helpers.core.labels import STAND_IN_SOURCE
from helpers.core.profiles import Profile, load_profile
from helpers.core.report import Report, Shown, print_table, write_report
from helpers.core.stations import Stations

TRAIN, EVAL = 1957, 368  # as many pictures as the project that the course retells had
FINE_TUNED = ("lora", "full")
SYSTEMS = ("baseline", "pretrained", *FINE_TUNED)
GALLERY = 16  # pictures in the report
NOTICE = (f"The reference's words come from the {STAND_IN_SOURCE}: a program on this machine that knows what each drawn scene holds, "
          "answers in DashScope's protocol, and errs from time to time as such models do.")


@dataclass(frozen=True)
class Settings:
    """What one run of the course is asked to do."""

    profile: Profile
    images: Path | None
    out: Path
    seed: int
    language: str
    train: int
    eval: int

    @property
    def eval_file(self) -> Path:
        """The evaluation samples with the teacher's words: the references."""
        return self.out / "eval.json"

    @property
    def train_file(self) -> Path:
        """The training samples with the teacher's words."""
        return self.out / "train.json"

    @property
    def pictures(self) -> Path:
        """The folder of pictures to label."""
        return self.images or self.out / "scenes"

    @property
    def truth_file(self) -> Path | None:
        """What is known of the pictures; None for a user's own."""
        return None if self.images else self.out / "scenes" / "scenes.jsonl"

    @property
    def store(self) -> Path:
        """The labels. One store a teacher and a folder of pictures, since `build` takes all that a store holds."""
        folder = "scenes" if self.images is None else hashlib.sha256(str(self.images.resolve()).encode()).hexdigest()[:8]
        return self.out / f"labels-{'standin' if self.profile.offline else 'teacher'}-{folder}.sqlite"

    def model(self, system: str) -> Path:
        """The folder that a training run writes."""
        return self.out / system / "model"

    def output(self, system: str) -> Path:
        """The file of a system's descriptions."""
        return self.out / system / "output.json"


def run_course(
    profile: Profile | str = "tiny",
    images: str | Path | None = None,
    out: str | Path = "results",
    seed: int = 0,
    language: str | None = None,
    train: int = TRAIN,
    eval: int = EVAL,
    say: Callable[[str], None] = print,
) -> Report:
    """Runs the course to its end, or on from where it stopped, and returns what the report shows.

    profile: a name from data/profiles.yaml, or a Profile.  images: the user's own pictures in place of drawn scenes; in
    folders Train/ and Val/ they are split so, otherwise by `helpers.dataset.build`.  out: where everything is written.
    seed: of scenes, training and intervals.  language: "en" or "zh", None for the profile's.
    train, eval: scenes to draw; of no effect with `images`.  say: takes each line for the user; progress bars go to stderr.
    Raises: InputError, ProfileError, ResourceError, TeacherError, TrainingError, each with one sentence; what was
    finished is kept, and the same call goes on from there.
    """
    settings = _check(profile, images, out, seed, language, train, eval)
    with Stations(settings.out, total=11, say=say) as stations:
        built = _make_data(settings, stations, say)
        _make_systems(settings, stations)
        result, truth = stations.run(
            "score", lambda: _score(settings), settings={"seed": settings.seed, "language": settings.language},
            after=[f"describe {system}" for system in SYSTEMS], outputs=[settings.out / "metrics.json"],
        )
        report = _assemble(settings, built, result, truth, stations)
        write_report(report, settings.out / "report.html")
    print_table(report)
    return report


def _check(profile, images, out, seed, language, train, eval) -> Settings:
    """The settings, once everything that can be known before the start is known to be right."""
    profile = load_profile(profile) if isinstance(profile, str) else profile
    language = language or profile.language
    if language not in ("en", "zh"):
        raise InputError(f"The course speaks en and zh, not {language!r}.")
    profile.require_key()
    if images is not None:
        images = Path(images)
        if not images.is_dir():
            raise InputError(f"{images} is no folder; give --images a folder of pictures.")
        if profile.offline:
            raise InputError(f"The {STAND_IN_SOURCE}, cannot know the pictures in {images}: use --profile lab with a DASHSCOPE_API_KEY, "
                             "or leave --images out.")
    elif train < 2 or eval < 2:
        raise InputError(f"The course needs at least 2 training and 2 evaluation scenes, not {train} and {eval}.")
    if Path(profile.student).is_absolute() and not (Path(profile.student) / "config.json").is_file():
        raise InputError(f"There is no student in {profile.student}; make it with `captionlab pretrain --out {profile.student}`, or name another in data/profiles.yaml.")
    from helpers.baseline import make_encoder

    make_encoder(profile.baseline.encoder)  # that it cannot be had is to be known now, and not when the labels are paid for
    return Settings(profile, images, Path(out), seed, language, train, eval)


def _make_data(settings: Settings, stations: Stations, say: Callable[[str], None]) -> dict:
    """Pictures, labels, train.json and eval.json; returns `helpers.dataset.build`'s report as a dictionary."""
    from helpers.core.prompts import question

    if settings.images:
        stations.run("pictures", lambda: None, settings={"images": _fingerprint(settings.images)})
        first = "pictures"
    else:
        from helpers.core.scenes import draw_scenes

        def draw() -> None:
            draw_scenes(settings.pictures, settings.train, settings.eval, settings.seed)

        first = "scenes"
        stations.run(first, draw, settings={"seed": settings.seed, "training scenes": settings.train, "evaluation scenes": settings.eval},
                     outputs=[settings.truth_file], wipe=[settings.pictures])
    teacher = settings.profile.teacher
    stations.run("label", lambda: _label(settings, say), after=[first], outputs=[settings.store],
                 settings={"seed": settings.seed, "teacher": teacher.model, "endpoint": teacher.endpoint, "language": settings.language,
                           "question": question("main", settings.language)})
    return stations.run("build", lambda: _build(settings, say), settings={}, after=["label"],
                        outputs=[settings.train_file, settings.eval_file], wipe=[settings.train_file, settings.eval_file])


def _make_systems(settings: Settings, stations: Stations) -> None:
    """Train the baseline and describe with it; describe with the pretrained student, train it twice, describe with both results."""
    from helpers.core.describing import unfinished_file
    from helpers.core.paths import CNN_ENCODER
    from helpers.core.runs import digest_model

    student = {"student": digest_model(settings.profile.student)}
    describing = asdict(settings.profile.generate)
    train = settings.profile.train
    training = {"seed": settings.seed, "processes": train.processes, "batch": [train.micro_batch_size, train.accumulation],
                "max_length": train.max_length, **student}

    def describe(system: str, after: str) -> None:
        asked = describing if system == "baseline" else {**student, **describing}
        stations.run(f"describe {system}", lambda: _describe(settings, system), settings=asked, after=["build", after],
                     outputs=[settings.output(system)], wipe=[settings.output(system), unfinished_file(settings.output(system))])

    cooked = {"seed": settings.seed, **asdict(settings.profile.baseline), "encoder's weights": digest_model(str(CNN_ENCODER))}
    stations.run("train baseline", lambda: _train_baseline(settings), settings=cooked, after=["build"],
                 outputs=[settings.model("baseline") / "history.json"], wipe=[settings.model("baseline")])
    describe("baseline", "train baseline")
    describe("pretrained", "build")
    for system in FINE_TUNED:
        stations.run(f"train {system}", lambda: _train(settings, system), settings={**training, **asdict(getattr(train, system))},
                     after=["build"], outputs=[settings.model(system) / "run.json"], wipe=[settings.model(system)])
    for system in FINE_TUNED:
        describe(system, f"train {system}")


def _label(settings: Settings, say: Callable[[str], None]) -> None:
    """Asks the teacher about every picture; what the store has is not asked again."""
    from helpers.dataset import label_images

    teacher = settings.profile.teacher
    say(str(label_images(settings.pictures, settings.store, ("main",), settings.language, teacher.model, teacher.rpm, teacher.concurrency,
                         scenes=settings.truth_file, seed=settings.seed, endpoint=teacher.endpoint, say=say)))


def _build(settings: Settings, say: Callable[[str], None]) -> dict:
    """Writes train.json and eval.json from the labels. Raises InputError when one of them would be empty."""
    from helpers.dataset import build

    report = build(settings.store, settings.out, dimensions=("main",), language=settings.language,
                   model=settings.profile.teacher.model, seed=settings.seed)
    say(str(report))
    for side, number in (("train", report.train), ("eval", report.eval)):
        if number == 0:
            raise InputError(f"No labelled picture is left for {side}.json; put more pictures into {settings.pictures}, "
                             "some in a folder Train/ and some in Val/.")
    return report.counts()


def _train_baseline(settings: Settings) -> None:
    """The CNN-RNN captioner; `train` itself goes on after its last whole epoch."""
    from helpers.baseline import recipe_of, train

    recipe = recipe_of(settings.profile, seed=settings.seed)
    train(settings.train_file, settings.model("baseline"), settings.eval_file, recipe, features=settings.out / "baseline" / "features.db")


def _train(settings: Settings, system: str) -> None:
    """One fine-tuning run; `launch` itself goes on from the last checkpoint."""
    from helpers.finetuning import launch, launch_options

    launch(system, data=settings.train_file, output_dir=settings.model(system), seed=settings.seed, **launch_options(settings.profile, system))


def _describe(settings: Settings, system: str) -> None:
    """Describes every evaluation picture."""
    from helpers.core.describing import describe_to_file
    from helpers.core.student import load_student
    from helpers.finetuning import load_run

    def load():
        if system == "pretrained":
            return load_student(settings.profile.student)
        if system == "baseline":
            return load_student(settings.model(system))
        run = load_run(settings.model(system))
        return load_student(run.model_path, run.adapter_path)

    describe_to_file(load, read_conversations(settings.eval_file), settings.output(system), settings.profile.generate, f"describing, {system}")


def _score(settings: Settings) -> tuple[dict, dict]:
    """Writes metrics.json and truth.json; returns what is in them."""
    from helpers.metrics import score_systems, write_metrics

    outputs = {system: settings.output(system) for system in SYSTEMS}
    # A student that says nothing of a picture has earned its zero there; in a user's own file it would be a mistake.
    result = score_systems(settings.eval_file, outputs, settings.language, seed=settings.seed, allow_empty=True)
    for system in SYSTEMS:
        write_metrics({**result, "systems": {system: result["systems"][system]}}, settings.out / system / "metrics.json")
    write_metrics(result, settings.out / "metrics.json")
    truth = {}
    if settings.truth_file:
        from helpers.core.truth import summarise

        truth = {system: summarise(marks.values()) for system, marks in _grade(settings).items()}
        write_metrics(truth, settings.out / "truth.json")
    return result, truth


def _grade(settings: Settings) -> dict[str, dict]:
    """{system: {sample id: Marks}} of every description of a drawn scene."""
    from helpers.core.scenes import read_scenes
    from helpers.core.truth import score

    scenes = {scene.id: scene for scene in read_scenes(settings.truth_file)}
    return {system: {sample.id: score(sample.answer, scenes[sample.id], settings.language)
                     for sample in read_conversations(settings.output(system), need_images=False)} for system in SYSTEMS}


def _assemble(settings: Settings, built: dict, result: dict, truth: dict, stations: Stations) -> Report:
    """Everything the report shows, from the files of the stations. built: `helpers.dataset.build`'s report."""
    from helpers.finetuning import load_run

    samples = read_conversations(settings.eval_file)
    teachers = " and ".join(built["sources"])
    dropped = ", ".join(f"{number} {reason}" for reason, number in built["dropped"].items())
    return Report(
        result=result, truth=truth, losses={system: load_run(settings.model(system)).losses for system in FINE_TUNED},
        shown=_gallery(settings, samples), seconds=stations.seconds, peak_memory=stations.peak_memory,
        facts=[*settings.profile.rows(), ("baseline", settings.profile.baseline.told), ("seed", str(settings.seed)), ("labels from", teachers), ("labels left out", dropped or "none")],
        notice=NOTICE if STAND_IN_SOURCE in built["sources"] else "",
        summary=f"{built['train']} {'photographs' if settings.images else 'drawn scenes'} labelled by a teacher ({teachers}); one student fine-tuned on "
                f"those labels twice, with LoRA and in full, and a CNN-RNN baseline trained on them; {len(samples)} further pictures described by all four.",
    )


def _gallery(settings: Settings, samples: list[Sample]) -> list[Shown]:
    """Pictures spread evenly over the evaluation samples, with everybody's words and, for scenes, their marks."""
    from helpers.core.lexicon import KINDS

    words = {system: {sample.id: sample.answer for sample in read_conversations(settings.output(system), need_images=False)} for system in SYSTEMS}
    grades = _grade(settings) if settings.truth_file else {}

    def names(kinds: set[str]) -> list[str]:
        return sorted(KINDS[kind].word.said(settings.language) for kind in kinds)

    number = min(GALLERY, len(samples))
    return [Shown(sample.id, sample.path, sample.answer, {system: words[system][sample.id] for system in SYSTEMS},
                  {system: {part: names(getattr(marks[sample.id], part)) for part in ("named", "missed", "hallucinated")}
                   for system, marks in grades.items()})
            for sample in (samples[i * len(samples) // number] for i in range(number))]


def _fingerprint(folder: Path) -> str:
    """Changes when a picture is added, taken away or replaced: names, sizes and times, not the bytes of gigabytes."""
    from helpers.core.images import find_images

    rows = [(path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in find_images(folder)]
    return hashlib.sha256(json.dumps([str(folder.resolve()), rows]).encode()).hexdigest()
