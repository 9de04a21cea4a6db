"""What can be asked of a fine-tuning run besides transformers' own training arguments: the model, the data, the adapter.

Each class is a group of options of finetune/finetune.py; a field is an option, its `help` what `--help` prints.
"""

from dataclasses import dataclass, field

from helpers.core.model_parts import LANGUAGE_ATTENTION

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def option(default, help: str):
    """A field with a default and a line for `--help`."""
    return field(default=default, metadata={"help": help})


@dataclass
class ModelArguments:
    """Which model, and which of its parts learn."""

    model_name_or_path: str = field(metadata={"help": "a folder, or a name on the Hugging Face hub"})
    tune_vision: bool = option(True, "train the vision tower along")
    tune_merger: bool = option(True, "train what lies between vision tower and language model (merger, connector, projector)")
    tune_llm: bool = option(True, "full fine-tuning only: train the language model")
    freeze: str | None = option(None, "regular expression: parameters in whose names it is found stay as they are, whatever else is said")
    max_slice_nums: int | None = option(None, "most slices that a large picture is cut into (MiniCPM-V)")
    trust_remote_code: bool = option(False, "run the Python code that comes with this very model; only for one whose authors you trust")
    vision_modules: str | None = option(None, "regular expression for the names of the vision tower, for a model whose names are unknown")
    merger_modules: str | None = option(None, "the same for what lies between vision tower and language model")
    language_modules: str | None = option(None, "the same for the language model")

    @property
    def part_patterns(self) -> dict[str, str | None]:
        """The patterns given by hand, by part (helpers/core/model_parts.py)."""
        return {"vision": self.vision_modules, "merger": self.merger_modules, "language": self.language_modules}


@dataclass
class DataArguments:
    """What to learn from."""

    data_path: str = field(metadata={"help": "train.json"})
    eval_data_path: str | None = option(None, "eval.json, for the loss on pictures not trained on")
    model_max_length: int = option(2048, "longest sample in tokens, the picture's among them; longer answers are cut, and named")
    cache_gib: float = option(1.0, "memory per process for encoded samples, kept between epochs")


@dataclass
class LoraOptions:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): frozen weights W plus trained B A of rank r, times alpha / r."""

    use_lora: bool = option(False, "train an adapter instead of all parameters")
    lora_r: int = option(64, "rank")
    lora_alpha: int = option(64, "the update's weight is alpha / rank")
    lora_dropout: float = option(0.05, "share of the adapter's inputs that are dropped while training")
    lora_target_modules: str = option(LANGUAGE_ATTENTION, "regular expression over the names of the layers that get an adapter")
