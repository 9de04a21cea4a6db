"""What can be asked of a fine-tuning run besides transformers' own training arguments: the model, the data, the adapter.

Each class is a group of options of finetune/finetune.py; a field is an option, its `help` what `--help` prints. `read_options` makes
filled groups of a command line's words, `given_options` names those words alone: what was asked, without the defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches

from helpers.core.errors import CaptionLabError, InputError
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


def read_options(groups: Sequence[type], argv: list[str]) -> tuple:
    """One object of each of the dataclasses `groups`, filled from the command line's words.

    Raises: InputError for an unknown option and for a value that an option cannot have.
    """
    from transformers import HfArgumentParser

    class Parser(HfArgumentParser):
        """argparse prints all of some three hundred options before it says which one is wrong; here only that."""

        def error(self, message: str):
            """Say in one sentence what argparse would say beneath two pages of usage."""
            raise InputError(f"The options cannot be used: {message}; --help tells all of them.")

    try:
        *filled, unknown = Parser(groups).parse_args_into_dataclasses(list(argv), return_remaining_strings=True)
    except CaptionLabError:
        raise
    except (ValueError, TypeError) as error:  # transformers' own objections to its training arguments
        raise InputError(f"The options cannot be used: {str(error).strip().splitlines()[0].rstrip('.')}; --help tells all of them.") from error
    if unknown:
        names = [f"--{one.name}" for group in groups for one in fields(group)]
        near = get_close_matches(unknown[0].partition("=")[0].replace("-", "_").replace("__", "--", 1), names, 1)
        raise InputError(f"There is no option {unknown[0]}{f'; {near[0]} is meant, perhaps' if near else ''}: --help tells all of them.")
    return tuple(filled)


def given_options(argv: Sequence[str]) -> dict[str, str]:
    """{"lora_r": "8"} from `--lora_r 8`, `--lora-r 8` or `--lora_r=8`; an option that stands alone is "true"."""
    given: dict[str, list[str]] = {}
    values: list[str] = []
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            values = given[name.replace("-", "_")] = [value] if equals else []
        else:
            values.append(word)
    return {name: " ".join(words) if words else "true" for name, words in given.items()}
