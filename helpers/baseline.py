"""The baseline: a CNN-RNN captioner with attention, trained from train.json in minutes on a laptop. Notebook 03 teaches it.

    train.json  --train-->  out/ (config.json, model.safetensors, history.json)  --load_student, captionlab caption-->  captions

The pieces are in helpers/core/: `show_attend_tell.py` and its sibling `show_and_tell.py` are the model, `beam_search.py` finds words,
`vocabulary.py` says which there are, `cnn_encoder.py` sees, `baseline_training.py` trains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.baseline_recipe import HISTORY, History, Recipe
from helpers.core.conversations import Sample, read_conversations
from helpers.core.errors import InputError, ResourceError
from helpers.core.fonts import is_chinese
from helpers.core.profiles import Profile
from helpers.core.runs import digest_data, read_json, write_json
from helpers.core.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

    from helpers.core.baseline_student import Baseline
    from helpers.core.feature_cache import FeatureCache

__all__ = ["ENCODERS", "Recipe", "Trained", "load", "make_encoder", "recipe_of", "train"]

ENCODERS = {
    "pretrained": "the kit's own small CNN, pretrained on drawn scenes, frozen",
    "scratch": "the same CNN from random weights, trained along with the decoder",
    "resnet18": "torchvision's ResNet-18, pretrained on ImageNet, frozen; needs a network once",
}
EXAMINED = 96  # pictures by which a training is watched


@dataclass
class Trained:
    """A finished baseline, the history of its training, and how many samples were left out because they ask another question."""

    baseline: Baseline
    history: History
    folder: Path
    left_out: int = 0

    def __str__(self) -> str:
        kind = "with attention" if self.baseline.decoder.attends else "without attention"
        last = self.history.epochs[-1]
        measured = f", CIDEr {last['cider']:.2f} on pictures not trained on" if last["cider"] is not None else ""
        left = f"; {self.left_out} samples left out, which ask another question" if self.left_out else ""
        return (f"a baseline {kind}, {len(self.baseline.vocabulary)} words, {len(self.history.epochs)} epochs in {self.history.seconds:.0f} s, "
                f"loss {last['loss']:.3f}{measured}{left}")


def recipe_of(profile: Profile, **changes) -> Recipe:
    """The recipe of a profile, with `changes` such as attention=False or seed=1."""
    return replace(Recipe(**asdict(profile.baseline)), **changes)


def train(
    data: str | Path, out: str | Path, eval_data: str | Path | None = None, recipe: Recipe = Recipe(), features: str | Path | None = None,
    progress: bool = True,
) -> Trained:
    """Train a captioner on the answers of `data` and write it to the folder `out`; a finished one is loaded, one that was stopped goes on.

    data: a train.json; of several questions the commonest is learned, since a captioner reads none.  eval_data: an eval.json, of which
    `EXAMINED` pictures draw the curves and decide nothing.  features: the file that keeps what a frozen encoder sees; default features.db
    beside `out`.  Raises InputError for data that cannot be used and for a recipe that cannot be cooked, ResourceError for an
    encoder that cannot be had or a disk that is full, TrainingError for a loss that is no number.
    """
    import torch

    from helpers.core.baseline_student import DECODERS, Baseline, load_baseline
    from helpers.core.baseline_training import CHECKPOINT, Examination, Trainer
    from helpers.core.feature_cache import FeatureCache, digest_encoder

    out = Path(out)
    samples, question, left_out = _choose(read_conversations(data, need_answers=True), data)
    if len(samples) < 2:
        raise InputError(f"{data} holds one picture for {question!r}, and nothing can be learned from one; give at least two.")
    watched = [] if eval_data is None else [s for s in read_conversations(eval_data, need_answers=True) if s.question == question][:EXAMINED]
    if eval_data is not None and not watched:
        raise InputError(f"No sample of {eval_data} asks what {data} asks ({question!r}); give its own eval.json, or none.")
    with one_thread():
        torch.manual_seed(recipe.seed)
        encoder, kind = make_encoder(recipe.encoder)
        frozen = recipe.encoder != "scratch"
        asked = {"recipe": asdict(recipe), "data": digest_data(data), "eval": digest_data(eval_data) if eval_data else None,
                 "encoder": digest_encoder(encoder)}
        finished = read_json(out / HISTORY)
        if finished and finished["asked"] == asked:
            return Trained(load_baseline(out), load_history(out), out, left_out)
        captions = [sample.answer for sample in samples]
        language = "zh" if sum(map(is_chinese, captions)) > len(captions) / 2 else "en"
        vocabulary = Vocabulary.build(captions, language, recipe.unit, recipe.least)
        decoder = DECODERS["show_attend_tell" if recipe.attention else "show_and_tell"](
            len(vocabulary), annotation_size=encoder.width, hidden_size=recipe.hidden_size, dropout=recipe.dropout)
        baseline = Baseline(encoder.requires_grad_(not frozen), decoder, vocabulary, question, kind, name=str(out))
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(f"{out} cannot be made ({error.strerror}); choose another folder.") from error
        cache = FeatureCache(features or out.parent / "features.db", encoder) if frozen else None
        annotate = _annotator(samples, encoder, cache, progress)
        examination = Examination(_annotator(watched, encoder, cache, progress), [s.answer for s in watched]) if watched else None
        history = Trainer(baseline, recipe, annotate, captions, asked, out, examination).run("training the baseline" if progress else None)
        baseline.save(out)
        write_json(out / HISTORY, asdict(history))
        (out / CHECKPOINT).unlink(missing_ok=True)
    return Trained(baseline, history, out, left_out)


def load(folder: str | Path) -> Trained:
    """What `train` wrote to `folder`. Raises InputError when there is no finished baseline."""
    from helpers.core.baseline_student import load_baseline

    return Trained(load_baseline(folder), load_history(folder), Path(folder))


def load_history(folder: str | Path) -> History:
    """The history of the finished training in `folder`. Raises InputError when there is none."""
    record = read_json(Path(folder) / HISTORY)
    if record is None:
        raise InputError(f"{folder} holds no finished training of a baseline; train one with `captionlab baseline`.")
    return History(**record | {"steps": [tuple(step) for step in record["steps"]]})


def _choose(samples: Sequence[Sample], data: str | Path) -> tuple[list[Sample], str, int]:
    """The samples that ask the commonest question, that question, and how many others there are."""
    question, number = Counter(sample.question for sample in samples).most_common(1)[0] if samples else ("", 0)
    if not number:
        raise InputError(f"{data} holds no samples; label some pictures and build it with `captionlab build`.")
    return [sample for sample in samples if sample.question == question], question, len(samples) - number


def make_encoder(name: str) -> tuple[torch.nn.Module, str]:
    """An encoder by its name in ENCODERS, and what `build_encoder` calls its kind. Raises InputError, ResourceError where it cannot be had."""
    if name == "pretrained":
        from helpers.core.cnn_encoder import load_encoder

        return load_encoder(), "cnn"
    if name == "scratch":
        from helpers.core.baseline_student import build_encoder

        return build_encoder("cnn"), "cnn"
    if name == "resnet18":
        from helpers.core.resnet_encoder import load_resnet

        return load_resnet(), "resnet18"
    raise InputError(f"There is no encoder {name!r}: choose {', '.join(ENCODERS)}.")


def _annotator(samples: Sequence[Sample], encoder: torch.nn.Module, cache: FeatureCache | None, progress: bool):
    """rows → annotations: from the cache for a frozen encoder, else computed each time, with gradients."""
    if cache is not None:
        annotations = cache.annotations([sample.path for sample in samples], "looking at pictures" if progress else None)
        return lambda rows: annotations[rows].float()
    import torch

    from helpers.core.images import open_image

    pixels = torch.stack([encoder.prepare(open_image(sample.path)) for sample in samples]).half()
    return lambda rows: encoder(pixels[rows].float())


@contextmanager
def one_thread():
    """Torch computes on one thread: such small matrices gain little by a second one, and stall as soon as anything else wants a core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
