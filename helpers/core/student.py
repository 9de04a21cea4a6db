"""Loads an image-text model, with or without an adapter, and lets it describe pictures: in batches, or word by word.

Pictures (paths or PIL) and questions go through helpers/core/encoding.py, as in training, become batches padded on the left,
and come back as text:  [picture, question] x n → input_ids [batch, length] → generated ids → n strings. On request every token
comes with its probability.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.encoding import collate, encode_question
from helpers.core.errors import InputError
from helpers.core.loading import first_line, load_processor, load_weights
from helpers.core.paths import STUDENT

if TYPE_CHECKING:
    from helpers.core.baseline_student import Baseline


def choose_device() -> str:
    """The fastest device here: "cuda" or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_pretrained(model: str, adapter: Path | None, device: str, trust_remote_code: bool = False):
    """Load processor and weights of a folder or hub id. Raises InputError in one sentence when it is no such model."""
    import torch

    folder = Path(model)
    if folder.exists() and not (folder / "config.json").is_file():
        kind = "an adapter; give the model it was trained on and this folder as the adapter" if (
            folder / "adapter_config.json").is_file() else "no model: it has no config.json"
        raise InputError(f"{model} is {kind}.")
    if not folder.exists() and (folder.is_absolute() or model.count("/") != 1 or model.startswith(".")):
        raise InputError(f"There is no model {model}; give 'tiny', the path of a folder, or a hub name like openbmb/MiniCPM-V-4.6.")
    half = torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # An adapter's folder carries the processor it was trained with.
    source = adapter if adapter and list(adapter.glob("*processor_config.json")) else model
    processor = load_processor(str(source), trust_remote_code)
    return processor, load_weights(model, torch.float32 if device == "cpu" else half, trust_remote_code)


def merge_adapter(weights, adapter: Path, model: str):
    """Put a LoRA adapter (and the vision tower saved beside it) into the weights. Raises InputError when it does not fit."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    file = adapter / "adapter_model.safetensors"
    if not (adapter / "adapter_config.json").is_file() or not file.is_file():
        kind = "a whole model; give it as the model" if (adapter / "config.json").is_file() else "no adapter"
        raise InputError(f"{adapter} is {kind}: adapter_config.json and adapter_model.safetensors make an adapter.")
    misfit = f"The adapter {adapter} was trained on another model than {model}; give the one it was trained on"
    try:
        with safe_open(file, "pt") as saved:
            saved_shapes = {name: tuple(saved.get_slice(name).get_shape()) for name in saved.keys()}
        merged = PeftModel.from_pretrained(weights, adapter)
    except SafetensorError as error:
        raise InputError(f"{file} is damaged ({first_line(error)}); train it again.") from error
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{misfit} ({first_line(error)}).") from error
    expected = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(merged).items()}
    if expected != saved_shapes:
        raise InputError(f"{misfit} ({len(expected.items() ^ saved_shapes.items())} tensors differ).")
    return merged.merge_and_unload()


@dataclass
class Student:
    """A model that describes pictures. `name` is what it was loaded from; `device` where it computes."""

    model: object
    processor: object
    device: str
    name: str

    def remark(self, questions: str | Sequence[str]) -> str:
        """What to tell whoever asks `questions`: nothing, since a student reads them all."""
        return ""

    def _inputs(self, images: Sequence, questions: Sequence[str]) -> dict:
        """The batch on the model's device for pictures and questions of equal number."""
        from helpers.core.images import open_image

        pictures = [open_image(image) if isinstance(image, str | Path | bytes) else image.convert("RGB") for image in images]
        samples = [encode_question(self.processor, picture, question) for picture, question in zip(pictures, questions, strict=True)]
        batch = collate(samples, self.processor.tokenizer.pad_token_id, "left")
        return {key: tensor.to(self.device) for key, tensor in batch.items()}

    def describe(
        self, images: Sequence, questions: str | Sequence[str], batch_size: int = 32, num_beams: int = 1,
        max_new_tokens: int = 256, progress: str | None = None, **sampling,
    ) -> list[str]:
        """Answer a question about each picture (paths or PIL images); one question for all, or one each.

        Greedy by default and then always the same; `num_beams` > 1 searches for the likeliest text; `sampling` takes
        generate's do_sample, temperature, top_p, top_k, repetition_penalty. `progress` names a progress bar.
        Raises InputError for a picture that cannot be used.
        """
        options = {"do_sample": False, "num_beams": num_beams, "max_new_tokens": max_new_tokens} | sampling
        answers: list[str] = []
        for generated, prompt in self._generate(images, questions, batch_size, progress, options):
            texts = self.processor.tokenizer.batch_decode(generated[:, prompt:], skip_special_tokens=True)
            answers += [text.strip() for text in texts]
        return answers

    def describe_with_probabilities(
        self, images: Sequence, questions: str | Sequence[str], batch_size: int = 32, max_new_tokens: int = 256, progress: str | None = None,
    ) -> list[tuple[str, list[tuple[str, float]]]]:
        """As `describe`, greedily, and with each answer its tokens: the piece of text each adds, and its probability.

        The probability is what the model gave the token, the likeliest of its vocabulary, after picture, question and the tokens
        before it: 0 to 1. The pieces make up the text; of a character that takes several tokens all but the last add "". The token
        that ends the answer is left out. Raises InputError for a picture that cannot be used.
        """
        import torch

        options = {"do_sample": False, "max_new_tokens": max_new_tokens, "output_logits": True, "return_dict_in_generate": True}
        special = set(self.processor.tokenizer.all_special_ids)
        answers = []
        for generated, prompt in self._generate(images, questions, batch_size, progress, options):
            ids = generated.sequences[:, prompt:]
            # Token by token: all of them at once, [batch, tokens, vocabulary], would take gigabytes of a large vocabulary.
            chosen = torch.stack([logits.float().softmax(-1).gather(-1, ids[:, step, None])[:, 0] for step, logits in enumerate(generated.logits)], dim=1)
            for row, probabilities in zip(ids.tolist(), chosen.tolist()):
                answers.append(self._pieces([(token, p) for token, p in zip(row, probabilities) if token not in special]))
        return answers

    def _pieces(self, tokens: list[tuple[int, float]]) -> tuple[str, list[tuple[str, float]]]:
        """The text of (id, probability) pairs, and what each adds to it. A text that grows by half a character does not grow."""
        decode, seen, pieces = self.processor.tokenizer.decode, "", []
        for number, (_, probability) in enumerate(tokens, 1):
            grown = decode([token for token, _ in tokens[:number]]).lstrip()
            if number < len(tokens):
                grown = grown.rstrip("\N{REPLACEMENT CHARACTER}")
            pieces.append((grown[len(seen):], probability))
            seen = grown
        return seen.strip(), pieces

    def _generate(self, images: Sequence, questions: str | Sequence[str], batch_size: int, progress: str | None, options: dict) -> Iterator[tuple]:
        """What generate returns for each batch, and the length of the batch's prompt in tokens."""
        import torch
        from tqdm.auto import tqdm

        images = list(images)
        questions = [questions] * len(images) if isinstance(questions, str) else list(questions)
        if len(questions) != len(images):
            raise InputError(f"{len(images)} pictures and {len(questions)} questions: give one question for all, or one each.")
        with tqdm(total=len(images), desc=progress, unit="picture", disable=progress is None) as bar:
            for at in range(0, len(images), batch_size):
                inputs = self._inputs(images[at:at + batch_size], questions[at:at + batch_size])
                with torch.inference_mode():
                    generated = self.model.generate(**inputs, **options)
                yield generated, inputs["input_ids"].shape[1]
                bar.update(len(images[at:at + batch_size]))

    def stream(self, image, question: str, max_new_tokens: int = 256, **sampling) -> Iterator[str]:
        """Answer one question in pieces, as they are generated. Leaving the loop early stops the model.

        Sampling options as in `describe`; a search with several beams has nothing to show before its end and is refused.
        """
        from threading import Event, Thread

        import torch
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        if sampling.get("num_beams", 1) > 1:
            raise InputError("Beam search cannot be streamed: it knows its words only at the end; use describe, or num_beams=1.")
        inputs = self._inputs([image], [question])
        streamer = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        left, failures = Event(), []

        def stop(input_ids, scores, **kwargs):
            return torch.full((len(input_ids),), left.is_set(), dtype=torch.bool, device=input_ids.device)

        def generate() -> None:
            try:
                with torch.inference_mode():
                    self.model.generate(**inputs, streamer=streamer, stopping_criteria=StoppingCriteriaList([stop]),
                                        max_new_tokens=max_new_tokens, **({"do_sample": False} | sampling))
            except Exception as error:  # raised again below, where the caller can see it
                failures.append(error)
                streamer.end()

        worker = Thread(target=generate, daemon=True)
        worker.start()
        try:
            yield from streamer
        finally:
            left.set()
            worker.join()
        if failures:
            raise failures[0]


def load_student(
    model: str | Path, adapter: str | Path | None = None, device: str | None = None, trust_remote_code: bool = False,
) -> "Student | Baseline":
    """Load a student: `model` is 'tiny' (the course's own), a folder or a hub id; `adapter` a folder that LoRA wrote.

    A folder that `captionlab baseline` wrote gives a `Baseline`, which describes and streams in the same way.
    `trust_remote_code` runs the Python code that comes with this very model, if it brings any.
    Raises InputError when the model is none, or the adapter belongs to another.
    """
    from helpers.core.baseline_student import is_baseline, load_baseline

    model = str(STUDENT) if str(model) == "tiny" else str(model)
    adapter = Path(adapter) if adapter is not None else None
    device = device or choose_device()
    if is_baseline(model):
        if adapter is not None:
            raise InputError(f"{model} is a CNN-RNN baseline, which takes no adapter; leave {adapter} out.")
        return load_baseline(model, device)
    processor, weights = load_pretrained(model, adapter, device, trust_remote_code)
    if adapter is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT still uses transformers' old name for it
            weights = merge_adapter(weights, adapter, model)
    processor.tokenizer.padding_side = "left"
    return Student(weights.to(device).eval(), processor, device, str(adapter or model))
