"""Before and beyond the test set: where a system breaks, whether it knows, what it forgot, and how good its labels had to be.

Shape of the data: {name: Student} --measure--> a result (core/robustness.py), which the tables and figures here show; the studies that take
longer than a notebook come from data/studies, or from one's own `captionlab study` in results/studies, in the same shape. So each cell shows
a live measurement of what is loaded, and the same thing of the study's systems.

    splits        core/splits.py, core/styles.py, core/strange.py    one change each, paired by plan
    corruptions   core/corruptions.py                                six, at five strengths
    calibration   core/calibration.py                                sure and right
    forgetting    core/forgetting.py                                 the lessons of pretraining, asked again
    label noise   core/label_noise.py, core/study.py                 how good a teacher must be
    left out      core/held_out.py                                   kinds and places that labels lack
    own pictures  core/own_pictures.py, core/reference_form.py       a folder, references by hand, scores
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core import robustness
from helpers.core.conversations import write_conversations
from helpers.core.corruptions import CORRUPTIONS, STRENGTHS
from helpers.core.errors import InputError
from helpers.core.figures import gallery, label_of
from helpers.core.forgetting import make_exam, sit
from helpers.core.held_out import held_out_study
from helpers.core.judged import LEGEND, entry, judged_text, side_by_side
from helpers.core.own_pictures import describe_folder
from helpers.core.paths import ROOT
from helpers.core.photos import load_photos
from helpers.core.plain_training import fine_tune
from helpers.core.profiles import Profile, load_profile
from helpers.core.reading import read
from helpers.core.reference_form import ReferenceForm
from helpers.core.report import Shown
from helpers.core.robustness_figures import corruption_sheet
from helpers.core.splits import SPLITS, draw_splits, known, make_case
from helpers.core.strange import kind_of
from helpers.core.study import Setup, labelled, noise_study, parse_seeds, read_study, write_study
from helpers.core.system_study import SystemSetup, find_systems, look_at_photos, open_system, parse_systems, systems_study, told
from helpers.core.truth import score_reading

if TYPE_CHECKING:
    import pandas
    from IPython.display import HTML
    from matplotlib.figure import Figure
    from PIL import Image

    from helpers.core.student import Student

__all__ = ["Setup", "SystemSetup", "describe_folder", "draw_splits", "drop_table", "forgetting", "held_out_study", "load_study", "measure", "noise_study",
           "open_systems", "origin", "own_pictures", "photographs", "show_corruptions", "show_splits", "study_command", "sureness_table", "taken_for_table",
           "train_small", "worst_cases"]

RESULTS = ROOT / "results"


def open_systems(profile: Profile | None = None, results: str | Path = RESULTS) -> dict[str, Student]:
    """The pretrained student, and every system that `captionlab course` has trained in `results`. Raises InputError for one that cannot be loaded."""
    profile = profile or load_profile()
    return {name: open_system(place) for name, place in find_systems(results, profile.student).items()}


def train_small(folder: str | Path, profile: Profile | None = None, scenes: int = 192, epochs: float = 3, strategy: str = "full", seed: int = 3) -> Student:
    """Fine-tune the profile's student on a few scenes, labelled with their truth, in one process: enough to have something that can break.

    folder: for the scenes and the run; called again, a finished run is found there. Raises as `fine_tune` does.
    """
    from helpers.core.scenes import draw_scenes

    profile, folder = profile or load_profile(), Path(folder)
    drawn = draw_scenes(folder / "scenes", train=scenes, eval=0, seed=seed, progress=None)
    write_conversations(folder / "train.json", [labelled(scene, scene, profile.language) for scene in drawn])
    rate = getattr(profile.train, strategy).learning_rate
    run = fine_tune(strategy, data=folder / "train.json", output_dir=folder / strategy, model=profile.student, epochs=epochs, learning_rate=rate, batch=8,
                    max_length=profile.train.max_length, rank=profile.train.lora.rank, alpha=profile.train.lora.alpha)
    return open_system(run.adapter_path or run.model_path)


def measure(systems: Mapping[str, Student], number: int = 24, corrupted: int = 12, splits: Sequence[str] = tuple(SPLITS),
            corruptions: Sequence[str] = tuple(CORRUPTIONS), strengths: Sequence[int] = STRENGTHS, language: str | None = None, progress: bool = True) -> dict:
    """Ask systems about splits and corruptions, and hold their words against the truth; returns a result, see core/robustness.py.

    number: plans of the splits.  corrupted: pictures of each corruption and strength. Raises InputError for an unknown split, corruption or strength.
    """
    from tqdm.auto import tqdm

    profile = load_profile()
    language, sets = language or profile.language, robustness.test_sets(number, corrupted, splits, corruptions, strengths)
    say = {"batch_size": profile.generate.batch_size, "max_new_tokens": profile.generate.max_new_tokens}
    answers: dict[str, dict] = {name: {} for name in systems}
    with tqdm(total=len(sets) * len(systems), desc="describing", unit="set", disable=not progress) as bar:
        for one in sets.values():
            pictures = [one.picture(case) for case in one.cases]  # drawn once for all systems
            for name, student in systems.items():
                answers[name][one.name] = robustness.ask(student, one, language, pictures=pictures, **say)
                bar.update()
    return robustness.survey(answers, sets, language)


def show_splits(number: int | None = None) -> Figure:
    """One plan in every split. number: of the plan; None takes the first that all splits can change."""
    if number is None:
        number = next(i for i in range(10_000) if all(make_case(name, i) for name in SPLITS))
    cases = [make_case(name, number) for name in SPLITS]
    missing = [name for name, case in zip(SPLITS, cases) if case is None]
    if missing:
        raise InputError(f"Plan {number} leaves no room for {', '.join(missing)}; choose another.")
    return gallery([case.picture for case in cases], list(SPLITS), columns=7)


def show_corruptions(picture: Image.Image) -> Figure:
    """A picture under every corruption, a row each, weak to strong."""
    return corruption_sheet(picture)


def load_study(name: str, results: str | Path = RESULTS) -> dict:
    """The result of the study "systems", "noise" or "held-out": one's own in `results`/studies, else the kit's. Raises InputError."""
    return read_study(name, Path(results) / "studies")


def origin(result: Mapping) -> str:
    """Where a study's numbers come from, in one line: the command, the date, the versions."""
    versions = ", ".join(f"{package} {number}" for package, number in result["versions"].items())
    return f"{result['command']}   ({result['date']}; Python {result['python']}, {versions})"


def study_command(what: str, out: str | Path, named: Sequence[str], results: str | Path, language: str, given: Mapping[str, object],
                  say: Callable[[str], None] = print) -> Path:
    """What `captionlab study` does: run a study in <out>/<what>, and write <out>/<what>.json. Killed, the same call goes on.

    named: systems as "NAME=FOLDER"; none: those of a course in `results`.  given: settings by name, None where the default is meant.
    Raises InputError for an unknown study, a setting that it does not have, or a system that is named badly.
    """
    studies = {"noise": (noise_study, Setup), "held-out": (held_out_study, Setup), "systems": (systems_study, SystemSetup)}
    if what not in studies:
        raise InputError(f"There is no study {what!r}; choose from {', '.join(studies)}.")
    run, kind = studies[what]
    settings = {name: value for name, value in given.items() if value is not None}
    known_here = [name for name in given if name in {field.name for field in fields(kind)}]
    strangers = [name for name in settings if name not in known_here] + (["system"] if named and what != "systems" else [])
    if strangers:
        raise InputError(f"The study {what} has no --{strangers[0]}; it has {', '.join('--' + name for name in known_here)}.")
    if "seeds" in settings:
        settings["seeds"] = parse_seeds(str(settings["seeds"]))
    setup = kind(language=language, **settings)
    if what == "systems":
        systems = parse_systems(named) if named else find_systems(results, load_profile().student)
        say(f"systems: {', '.join(systems)}")
        return write_study(run(systems, Path(out) / what, setup, say), out)
    return write_study(run(Path(out) / what, setup, say=say), out)


def drop_table(result: Mapping, metric: str = "object_f1") -> pandas.DataFrame:
    """One row a set, two columns a system: its score, and how much that is above or below the set it is held against; * where the interval leaves out zero."""
    import pandas

    rows = {}
    for name, one in result["sets"].items():
        row: dict[str, object] = {"pictures": one["pictures"]}
        for system in result["scores"]:
            value, drop = result["scores"][system][name].get(metric), result["drops"][system].get(name, {}).get(metric)
            row[label_of(system)] = f"{value[0]:.2f}" if value else "–"
            row[f"{label_of(system)}, change"] = f"{drop[0]:+.2f} ({drop[1]:+.2f}, {drop[2]:+.2f}){'*' if drop[1] > 0 or drop[2] < 0 else ''}" if drop else ""
        rows[name] = row
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis(label_of(metric))


def sureness_table(result: Mapping, sets: Sequence[str] | None = None, sort: str = "object") -> pandas.DataFrame:
    """Mean probability of the words, share right and ECE, a row a set and system."""
    import pandas

    rows = [{"set": name, "system": label_of(system), "sure": f"{found[sort]['confidence'][0]:.2f}", "right": f"{found[sort]['accuracy'][0]:.2f}",
             "ECE": "{:.2f} ({:.2f}–{:.2f})".format(*found[sort]["ece"]), "words": sum(row[0] for row in found[sort]["bins"])}
            for name in sets or result["sets"] for system in result["calibration"] if sort in (found := result["calibration"][system][name])]
    return pandas.DataFrame(rows).set_index(["set", "system"])


def taken_for_table(result: Mapping) -> pandas.DataFrame:
    """What each system says where a kind or a place is that nobody has shown it, the most frequent first, with the number of pictures."""
    import pandas

    names = list(dict.fromkeys(name for found in result["taken for"].values() for name in found))
    return pandas.DataFrame({label_of(system): {name: ", ".join(f"{said} {count}" for said, count in list(found.get(name, {}).items())[:4]) for name in names}
                             for system, found in result["taken for"].items()}).rename_axis("in the picture")


def worst_cases(result: Mapping, sets: Sequence[str] | None = None, systems: Sequence[str] | None = None, rank: int = 0) -> HTML:
    """The picture that went worst in each of `sets`, for each system, its words judged. rank: 0 for the worst, 1 for the next."""
    from IPython.display import HTML

    language, setup = result["language"], result.get("setup", {})
    rows = []
    for name in sets or result["sets"]:
        for system in systems or result["worst"]:
            if rank < len(found := result["worst"][system][name]):
                case, picture = robustness.case_in(name, found[rank]["id"], training_seed=setup.get("training_seed", 0))
                truth, reading = known(case.scene), read(found[rank]["text"], language)
                marks = score_reading(reading, truth)
                words = entry(f"{name} · {label_of(system)}", judged_text(found[rank]["text"], reading, truth) or "<small>said nothing</small>")
                unnamed = marks.missed | {group.kind for group in case.scene.groups} - {group.kind for group in truth.groups}
                missed = html.escape(", ".join(kind_of(kind).word.said(language) for kind in sorted(unnamed)))
                uri = Shown(case.id, picture, "", {}).data_uri
                rows.append(f"<tr><td valign='top' width='150'><img alt='{html.escape(name)} {case.id}' width='140' src='{uri}'></td>"
                            f"<td align='left' valign='top' style='text-align:left;vertical-align:top'>{words}<div><small>missed: {missed or 'nothing'}</small></div></td></tr>")
    return HTML(f"<table><tbody>{''.join(rows)}</tbody></table>{LEGEND}")


def forgetting(systems: Mapping[str, Student], number: int = 16, progress: bool = True) -> dict:
    """Ask systems about `number` scenes for each lesson of pretraining; returns what a study's "forgetting" holds."""
    exam = make_exam(number)
    return told(exam, {name: sit(student, exam, progress=f"{name} answers" if progress else None) for name, student in systems.items()})


def photographs(systems: Mapping[str, Student] | None = None, result: Mapping | None = None, names: Sequence[str] | None = None) -> HTML:
    """The kit's photographs, what was written of them by hand, and what systems say, with the mean probability of the things that they name.

    systems: to ask now.  result: a study's, to show what its systems said.  names: of the photographs; None: all.
    """
    from IPython.display import HTML

    profile = load_profile()
    said = dict((result or {}).get("photos", {})) | {name: look_at_photos(student, SystemSetup(language=profile.language)) for name, student in (systems or {}).items()}
    rows = []
    for photo in load_photos():
        if names is None or photo.name in names:
            texts = [f"{found[photo.name]['text']}\n\n" + (f"sure of its things: {found[photo.name]['confidence']:.2f}" if found[photo.name]["confidence"] else "names nothing")
                     for found in said.values()]
            rows.append((photo.title[profile.language], photo.path, (photo.descriptions["main"][profile.language], *texts)))
    return HTML(side_by_side(("written by hand", *map(label_of, said)), rows))


def own_pictures(folder: str | Path, systems: Mapping[str, Student], out: str | Path, score: Callable[..., dict], language: str | None = None) -> ReferenceForm:
    """Let systems describe the pictures of `folder`, and open the form in which their references are written and scored.

    out: for references.json and <system>.json; references written before are there again.  score: `helpers.metrics.score_systems`.
    Raises InputError for a folder without a picture that can be used.
    """
    language = language or load_profile().language
    files = describe_folder(folder, systems, out, language)
    return ReferenceForm(folder, Path(out) / "references.json", files, score, language)
