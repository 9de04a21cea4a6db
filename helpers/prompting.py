"""The prompt lab: the same pictures, many prompts, and numbers that say which prompt is better.

Shape of the data: a `Lab` (drawn scenes with their truth, a teacher, a store of answers) and techniques → `compare_prompts` →
`Comparison`, a table with intervals. The teacher is asked through the real dashscope SDK: on the tiny profile the offline
stand-in answers, on the lab profile Qwen-VL. What was asked once is read from the store: running a cell again is free.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from helpers.core.asking import Reply, ask_all
from helpers.core.comparison import Comparison, Trial, count_words, stacked
from helpers.core.endpoints import STAND_IN_KEY
from helpers.core.errors import InputError
from helpers.core.figures import tradeoff_chart
from helpers.core.images import encode_image, image_size
from helpers.core.judged import LEGEND, entry, judged_gallery, judged_text, side_by_side
from helpers.core.marked import ELEMENTS, agreement, load_marked
from helpers.core.paths import ROOT
from helpers.core.photos import Photo
from helpers.core.prices import MESSAGE_TOKENS, load_prices, text_tokens
from helpers.core.profiles import Profile
from helpers.core.qwen_vl import QwenVL
from helpers.core.reading import read
from helpers.core.scenes import Scene, draw_scenes
from helpers.core.standin import SOURCE, StandIn
from helpers.core.techniques import Technique, load_techniques, merge
from helpers.core.truth import score_reading

if TYPE_CHECKING:
    import pandas
    from IPython.display import HTML
    from matplotlib.figure import Figure

__all__ = ["Lab", "Technique", "ask_again", "chart", "compact", "compare_prompts", "foresee", "gallery", "load_techniques", "open_lab", "own_eyes", "reader_accuracy",
           "stream", "try_reader", "watch"]

FOLDER = ROOT / "results" / "prompting"
ANSWER_TOKENS = 120  # what an answer is foreseen to have; usage tells in the end
Prompts = Mapping[str, Technique | str]


@dataclass
class Lab:
    """Pictures, a teacher and a store. `scenes`: what is asked about; give `compare_prompts` fewer of them to try something out."""

    profile: Profile
    folder: Path
    scenes: list[Scene]
    store: Path
    base_url: str | None
    key: str | None = field(repr=False)
    language: str
    open: ExitStack = field(repr=False)

    def client(self) -> QwenVL:
        """A client for the profile's teacher."""
        teacher = self.profile.teacher
        return QwenVL(teacher.model, self.base_url, self.key, rpm=teacher.rpm, concurrency=teacher.concurrency)

    @property
    def source(self) -> str:
        """Who answers."""
        return SOURCE if self.profile.offline else self.profile.teacher.model

    def picture(self, scene: Scene) -> Path:
        """Where a scene's picture is."""
        return self.folder / scene.file

    def close(self) -> None:
        """Ends the stand-in, where there is one."""
        self.open.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def open_lab(profile: Profile, pictures: int = 150, seed: int = 1, folder: Path | str | None = None, language: str | None = None) -> Lab:
    """Draw `pictures` scenes, or find those of an earlier time, and open the profile's teacher.

    folder: for the pictures and the store of answers; if None, `results/prompting`, or for the stand-in, whose answers cost
    nothing, a temporary one that is gone when the lab is closed.  language: "en" or "zh", the profile's if None.
    Raises ProfileError without the key that a real teacher needs, InputError for a number of pictures below 1.
    """
    if pictures < 1:
        raise InputError(f"the lab needs at least one picture, not {pictures}")
    profile.require_key()
    opened, base_url, key = ExitStack(), profile.teacher.endpoint, None
    if folder is None:
        folder = opened.enter_context(TemporaryDirectory(prefix="captionlab-")) if profile.offline else FOLDER
    scenes_folder = Path(folder) / f"scenes-{pictures}-{seed}"
    scenes = draw_scenes(scenes_folder, 0, pictures, seed, progress=None)
    if profile.offline:
        base_url, key = opened.enter_context(StandIn(scenes_folder)).base_url, STAND_IN_KEY
    return Lab(profile, scenes_folder, scenes, Path(folder) / "answers.sqlite", base_url, key, language or profile.language, opened)


def compare_prompts(lab: Lab, prompts: Prompts, scenes: Sequence[Scene] | None = None, *, seed: int = 0, language: str | None = None,
                    progress: str | None = "asking", seen: Callable[[str, Path, Reply], None] | None = None) -> Comparison:
    """Ask every prompt about every scene, score the answers against the truth, and compare.

    prompts: {name: technique, or the text of a prompt}.  scenes: those of the lab if None.  seed: sent as a sampling parameter.
    seen: told of each answer as it comes. Raises InputError for what cannot be asked, TeacherError for an answer that ends the
    run (key, money, model); answers so far are kept, and the same call continues.
    """
    language = language or lab.language
    techniques = {name: prompt if isinstance(prompt, Technique) else Technique.of(prompt) for name, prompt in prompts.items()}
    scenes = lab.scenes if scenes is None else list(scenes)
    replies = ask_all(techniques, [lab.picture(s) for s in scenes], lab.client, lab.store, language, {"seed": seed},
                      lab.profile.teacher.concurrency, progress, seen)
    trials = []
    for name, technique in techniques.items():
        for scene in scenes:
            reply = replies[name, lab.picture(scene)]
            reading = read(reply.text, language)
            fault = technique.fault(reply.text) if reply.answered else "not answered"
            trials.append(Trial(name, scene, lab.picture(scene), reply, reading, score_reading(reading, scene), count_words(reply.text, language),
                                technique.format is not None, fault))
    sources = sorted({call.source for trial in trials for call in trial.reply.calls})
    return Comparison(trials, language, load_prices().model(lab.profile.teacher.model), " and ".join(sources), seed)


def foresee(lab: Lab, prompts: Mapping[str, Technique], scenes: Sequence[Scene] | None = None) -> str:
    """What `compare_prompts` would at most send and cost, in one sentence; nothing is sent."""
    scenes = lab.scenes if scenes is None else list(scenes)
    price = load_prices().model(lab.profile.teacher.model)
    calls = spent_in = spent_out = 0
    image = price.image_tokens(*image_size(lab.picture(scenes[0]))) if price else 0
    for technique in prompts.values():
        texts = [*technique.prompts(lab.language), *([technique.then.said(lab.language)] if technique.then else [])]
        calls += len(texts)
        spent_in += sum(text_tokens(text) + MESSAGE_TOKENS + image for text in texts) + (ANSWER_TOKENS if technique.then else 0)
        spent_out += ANSWER_TOKENS * len(texts)
    number = len(scenes)
    money = f"{price.cost(spent_in, spent_out) * number:.2f} yuan at the most" if price else "at a price that the price file does not know"
    return f"{number} pictures, {calls * number} calls, about {spent_in * number} tokens in and {spent_out * number} out: {money}."


def chart(comparison: Comparison) -> Figure:
    """Recall against hallucination, one dot a prompt, with intervals."""
    points = {name: (comparison.estimate(name, "chair_s"), comparison.estimate(name, "object_recall")) for name in comparison.techniques}
    return tradeoff_chart({name: ((x.value, x.low, x.high), (y.value, y.low, y.high)) for name, (x, y) in points.items() if x.known and y.known},
                          "answers with something made up (CHAIR-s)", "objects named (recall)", f"{comparison.pictures} pictures, 95 % intervals")


def compact(table: pandas.DataFrame) -> HTML:
    """A table of a comparison with each interval below its value."""
    from IPython.display import HTML

    return HTML(stacked(table))


def gallery(comparison: Comparison, prompts: Sequence[str], scenes: Sequence[Scene]) -> HTML:
    """Pictures with the answers to some prompts, each judged word marked."""
    from IPython.display import HTML

    wanted = {scene.id for scene in scenes}
    trials = [trial for name in prompts for trial in comparison.of(name) if trial.scene.id in wanted]
    return HTML(judged_gallery(trials, comparison.language, comparison.source))


def try_reader(text: str, scene: Scene, language: str = "en") -> HTML:
    """A text of your own, judged against a scene."""
    from IPython.display import HTML

    return HTML(f"<p>{judged_text(text, read(text, language), scene)}</p>{LEGEND}")


def stream(lab: Lab, picture: Path, technique: Technique, language: str | None = None, **parameters) -> Iterator[str]:
    """The answer so far, again and again as it comes, through all calls of a technique. Not kept in the store.

    Raises InputError for the picture, TeacherError where the answer does not come.
    """
    language, client = language or lab.language, lab.client()
    encoded = encode_image(picture, client.max_side)
    sampling = {**technique.parameters.told(), **parameters}
    answers: list[str] = []
    for prompt in technique.prompts(language):
        answers.append("")
        for piece in client.stream(encoded, prompt, **sampling):
            answers[-1] += piece
            yield merge(answers, language)
    if second := technique.second(language, merge(answers, language)):
        answer = ""
        for piece in client.stream(encoded, second, **sampling):
            answer += piece
            yield answer


def watch(lab: Lab, scene: Scene, prompts: Mapping[str, Technique], **parameters) -> None:
    """Show the answers to some prompts about one scene, word by word as they come, and mark them when they are complete."""
    from IPython.display import HTML, display

    done: list[str] = []

    def page(*more: str) -> HTML:
        return HTML(f"<div>{''.join((*done, *more))}</div>{LEGEND}")

    shown = display(page(), display_id=True)
    for name, technique in prompts.items():
        text = ""
        for text in stream(lab, lab.picture(scene), technique, **parameters):
            shown.update(page(entry(name, html.escape(text) + " …")))
        done.append(entry(name, judged_text(text, read(text, lab.language), scene)))
        shown.update(page())


def ask_again(lab: Lab, technique: Technique, scene: Scene, times: int = 8, **parameters) -> list[str]:
    """The answers to the same prompt about the same scene, asked `times` times with another seed each; kept in the store."""
    prompts = {f"seed {seed}": technique.sampled(**{**parameters, "seed": seed}) for seed in range(times)}
    found = ask_all(prompts, [lab.picture(scene)], lab.client, lab.store, lab.language, progress=None)
    return [reply.text for reply in found.values()]


def own_eyes(lab: Lab, technique: Technique, photos: Sequence[Photo], mine: Mapping[str, str] = {}) -> HTML:
    """Photographs, whose truth nobody has written down: your own words, the kit's hand-written ones and the teacher's, side by side.

    mine: {photograph's name: what you see in it}.
    """
    from IPython.display import HTML

    replies = ask_all({"": technique}, [photo.path for photo in photos], lab.client, lab.store, lab.language, {"seed": 0}, progress=None)
    rows = [(photo.title[lab.language], photo.path, (mine.get(photo.name, ""), photo.descriptions["main"][lab.language], replies["", photo.path].text))
            for photo in photos]
    return HTML(side_by_side(("your own eyes", "written by hand", f"the teacher ({lab.source})"), rows))


def reader_accuracy(languages: Sequence[str] = ("en", "zh")) -> pandas.DataFrame:
    """How often the scorer's reading agrees with marks made by hand: precision and recall a language, half and element."""
    import pandas

    rows = []
    for language in languages:
        for half in ("built", "held out"):
            sentences = load_marked(language, half)
            found = agreement(sentences)
            rows.append({"language": language, "half": half, "sentences": len(sentences)}
                        | {name: f"{found[name].precision:.2f} / {found[name].recall:.2f} of {found[name].marked}" for name in ELEMENTS})
    return pandas.DataFrame(rows).set_index(["language", "half"])
