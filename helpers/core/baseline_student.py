"""The CNN-RNN captioner as one model with the interface of `helpers/core/student.py`: describe pictures, stream, save, load.

    folder (config.json, model.safetensors)  --load_baseline-->  Baseline  --describe-->  captions

It is a captioner and no dialogue model: there is no way for a question to reach it. It was trained to answer the course's main question,
and whatever it is asked, it answers that one; `remark` says so of any other. `load_student` loads such a folder too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from helpers.core.beam_search import Hypothesis, Search, beam_search, greedy, next_words
from helpers.core.cnn_encoder import Encoder
from helpers.core.errors import InputError, ResourceError
from helpers.core.loading import first_line
from helpers.core.show_and_tell import ShowAndTell
from helpers.core.show_attend_tell import ShowAttendTell
from helpers.core.vocabulary import END, START, Vocabulary, join

MODEL_TYPE = "captionlab-baseline"  # in config.json; what tells such a folder from a student's
DECODERS = {"show_attend_tell": ShowAttendTell, "show_and_tell": ShowAndTell}


@dataclass
class Baseline:
    """A CNN-RNN captioner. `question`: the only one it answers; `name`: what it was loaded from; `encoder_name`: one of `build_encoder`'s."""

    encoder: torch.nn.Module
    decoder: ShowAttendTell | ShowAndTell
    vocabulary: Vocabulary
    question: str
    encoder_name: str = "cnn"
    device: str = "cpu"
    name: str = "baseline"

    def __post_init__(self):
        self.encoder.to(self.device).eval()
        self.decoder.to(self.device).eval()

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All weights, of encoder and decoder."""
        yield from self.encoder.parameters()
        yield from self.decoder.parameters()

    def remark(self, questions: str | Sequence[str]) -> str:
        """What to tell whoever asks `questions`: "" where all are the one it knows."""
        others = {questions} if isinstance(questions, str) else set(questions)
        if not others - {self.question}:
            return ""
        return f"{self.name} is a captioner: it reads no question, and answers each with what it would say to {self.question!r}."

    @torch.inference_mode()
    def annotate(self, images: Sequence) -> torch.Tensor:
        """What the encoder sees in pictures (paths or PIL): annotations [n, places, width]. Raises InputError for one that cannot be used."""
        from helpers.core.images import open_image

        pictures = [open_image(image) if isinstance(image, str | Path | bytes) else image for image in images]
        return self.encoder(torch.stack([self.encoder.prepare(picture) for picture in pictures]).to(self.device)).float()

    def describe(
        self, images: Sequence, questions: str | Sequence[str], batch_size: int = 32, num_beams: int = 1,
        max_new_tokens: int = 256, progress: str | None = None, **sampling,
    ) -> list[str]:
        """Caption each picture (paths or PIL images); the questions are counted and not read.

        Greedy by default; `num_beams` > 1 searches for the likeliest caption, one picture at a time. `progress` names a progress bar.
        Raises InputError for a picture that cannot be used, and for sampling, which this model has none of.
        """
        return [self.vocabulary.decode(found.ids) for found in self._decode(images, questions, batch_size, num_beams, max_new_tokens, progress, sampling)]

    def describe_with_probabilities(
        self, images: Sequence, questions: str | Sequence[str], batch_size: int = 32, num_beams: int = 1,
        max_new_tokens: int = 256, progress: str | None = None,
    ) -> list[tuple[str, list[tuple[str, float]]]]:
        """As `describe`, each caption with its tokens and the probability (0 to 1) that each had when it was said. The end is no token of the text."""
        found = self._decode(images, questions, batch_size, num_beams, max_new_tokens, progress, {})
        return [(self.vocabulary.decode(one.ids), [(token, float(torch.tensor(score).exp())) for token, score in
                                                  zip(self.vocabulary.strings(one.ids), one.log_probabilities)]) for one in found]

    def explain(self, image, max_new_tokens: int = 256) -> Hypothesis:
        """The greedy caption of one picture with the attention under which each word was said."""
        return greedy(self.decoder, self.annotate([image]), max_new_tokens)[0]

    def search(self, image, num_beams: int = 3, max_new_tokens: int = 256) -> Search:
        """A beam search for one picture, with all that it looked at."""
        return beam_search(self.decoder, self.annotate([image]), num_beams, max_new_tokens)

    @torch.inference_mode()
    def stream(self, image, question: str, max_new_tokens: int = 256, **sampling) -> Iterator[str]:
        """Caption one picture word by word, greedily. Joined, the pieces are what `describe` says. Leaving the loop early stops the model."""
        self._refuse(sampling)
        state, words, said = self.decoder.begin(self.annotate([image])), torch.tensor([START], device=self.device), []
        for _ in range(max_new_tokens):
            scores, state, _ = next_words(self.decoder, words, state)
            words = scores.argmax(dim=-1)
            if words.item() == END:
                return
            before = join(said)
            said.append(self.vocabulary.tokens[words.item()])
            yield join(said)[len(before):]

    def _decode(self, images, questions, batch_size, num_beams, longest, progress, sampling) -> list[Hypothesis]:
        """A hypothesis a picture."""
        from tqdm.auto import tqdm

        self._refuse(sampling)
        images = list(images)
        if not isinstance(questions, str) and len(questions) != len(images):
            raise InputError(f"{len(images)} pictures and {len(questions)} questions: give one question for all, or one each.")
        found: list[Hypothesis] = []
        with tqdm(total=len(images), desc=progress, unit="picture", disable=progress is None) as bar:
            for start in range(0, len(images), batch_size):
                annotations = self.annotate(images[start:start + batch_size])
                if num_beams == 1:
                    found += greedy(self.decoder, annotations, longest)
                else:
                    found += [beam_search(self.decoder, one[None], num_beams, longest).best for one in annotations]
                bar.update(len(annotations))
        return found

    @staticmethod
    def _refuse(sampling: dict) -> None:
        asked = {name: value for name, value in sampling.items() if (name, value) not in (("do_sample", False), ("num_beams", 1))}
        if asked:
            raise InputError(f"The baseline decodes greedily or with beams and knows no {', '.join(asked)}; leave that out.")

    def save(self, folder: Path | str) -> Path:
        """Write the captioner to `folder`, its encoder with it. Raises ResourceError when the folder cannot be written."""
        from safetensors.torch import save_file

        folder = Path(folder)
        kind = next(name for name, decoder in DECODERS.items() if isinstance(self.decoder, decoder))
        config = {"model_type": MODEL_TYPE, "decoder": kind, "sizes": self.decoder.sizes, "encoder": self.encoder_name,
                  "question": self.question, "vocabulary": self.vocabulary.to_dict()}
        weights = {f"{part}.{name}": tensor.contiguous() for part, module in (("encoder", self.encoder), ("decoder", self.decoder))
                   for name, tensor in module.state_dict().items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(weights, folder / "model.safetensors.part")
            os.replace(folder / "model.safetensors.part", folder / "model.safetensors")
            (folder / "config.json.part").write_text(json.dumps(config, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            os.replace(folder / "config.json.part", folder / "config.json")
        except OSError as error:
            raise ResourceError(f"{folder} cannot be written ({error.strerror}); free some space or choose another folder.") from error
        return folder


def build_encoder(name: str) -> torch.nn.Module:
    """An encoder of random weights: "cnn", the kit's own, or "resnet18", torchvision's."""
    if name == "cnn":
        return Encoder()
    if name == "resnet18":
        from helpers.core.resnet_encoder import ResNetEncoder

        return ResNetEncoder()
    raise InputError(f"There is no encoder {name!r}: choose cnn or resnet18.")


def is_baseline(folder: Path | str) -> bool:
    """Whether a folder's config.json says that a baseline is in it."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def load_baseline(folder: Path | str, device: str = "cpu") -> Baseline:
    """Load what `Baseline.save` wrote. Raises InputError naming the file that is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        vocabulary = Vocabulary(**config["vocabulary"])
        decoder, encoder = DECODERS[config["decoder"]](len(vocabulary), **config["sizes"]), build_encoder(config["encoder"])
        weights = load_file(folder / "model.safetensors")
        for part, module in (("encoder", encoder), ("decoder", decoder)):
            module.load_state_dict({name.removeprefix(f"{part}."): tensor for name, tensor in weights.items() if name.startswith(f"{part}.")})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} holds a baseline that is damaged ({first_line(error)}); train it again with `captionlab baseline`.") from error
    return Baseline(encoder, decoder, vocabulary, config["question"], config["encoder"], device, str(folder))
