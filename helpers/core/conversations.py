"""The conversation format that every station of the course reads and writes: train.json, eval.json, output.json.

A file is a JSON list, one object per sample, as OpenBMB's fine-tuning script expects it:

    {"id": "2002", "image": "data/Val/2002.jpg",
     "conversations": [{"role": "user", "content": "<image>\\nWhat is in the picture?"},
                       {"role": "assistant", "content": "A red house …"}]}

One sample is one picture and its conversation; the course's own files hold one question and one answer, files of others
may go on for several turns. Also read is what else OpenBMB's script takes: a whole number as id, a picture without a tag (it
comes first), a tag in the middle or at the end of the question, a picture as {"<image_00>": path}, keys of others (left alone).
A relative picture path is tried against the JSON's folder, its parent, then the current folder.
"""

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from helpers.core.errors import InputError, ResourceError

IMAGE_TAG = "<image>"
NAMED = 20  # faults that an error tells; more would hide its beginning
ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Turn:
    """One message. `role` is "user" or "assistant"; `content` is plain text. The picture's tag is left out where it stands first, as
    it nearly always does, and kept where it stands later in the text."""

    role: str
    content: str


@dataclass
class Sample:
    """One picture and what is said about it.

    `image` is the path as the file writes it, `path` where the picture was found (None when it was not looked for, or is
    nowhere). `turns` is the whole conversation in order; `question` and `answer` are its first two messages.
    """

    id: str
    image: str
    path: Path | None
    question: str
    answer: str
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.turns:
            self.turns = [Turn("user", self.question), Turn("assistant", self.answer)]


@dataclass(frozen=True)
class Fault:
    """What is wrong with one sample. `sample` is its id, or its place in the list ("number 3") when it has none."""

    sample: str
    message: str


def resolve_image(image: str, json_path: Path) -> Path | None:
    """Find the picture `image` that the file `json_path` names; None when it is in none of the three places."""
    written = Path(image.replace("\\", "/"))
    if written.is_absolute():
        return written if written.is_file() else None
    folder = Path(json_path).resolve().parent
    for base in (folder, folder.parent, Path.cwd()):
        if (base / written).is_file():
            return base / written
    return None


def load_list(path: Path) -> list:
    """Read the JSON list in `path`. Raises InputError when there is no such file, it is no JSON, or it is no list."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; give the path of a train.json or eval.json.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a train.json or eval.json.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    if not isinstance(entries, list):
        raise InputError(f"{path} holds a JSON {type(entries).__name__}; a list of samples is needed.")
    return entries


def without_leading_tag(content: str) -> str:
    """The text of a first question: the picture's tag left out where it stands first."""
    return content.strip().removeprefix(IMAGE_TAG).strip()


def with_tag(content: str) -> str:
    """The text of a first question as a file has it: with the picture's tag, first unless it stands elsewhere."""
    return content if IMAGE_TAG in content else f"{IMAGE_TAG}\n{content}"


def message_faults(messages: object) -> list[str]:
    """Say what is wrong with the value of "conversations"; an empty list when nothing is."""
    if not isinstance(messages, list) or not messages:
        return ['"conversations" must be a list of messages that is not empty']
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return [f'message {number + 1} must be an object with "role" and "content", both text']
        if message.get("role") != ROLES[number % 2]:
            return [f'message {number + 1} has the role {message.get("role")!r}; user and assistant take turns, the user begins']
    faults = []
    if len(messages) % 2:
        faults.append("the conversation ends with a question; add the assistant's answer")
    tags = sum(message["content"].count(IMAGE_TAG) for message in messages)
    if tags > 1:
        faults.append(f"{tags} {IMAGE_TAG} tags; one sample is one picture, so one tag in the first question")
    elif tags and IMAGE_TAG not in messages[0]["content"]:
        faults.append(f"the {IMAGE_TAG} tag stands in a later message; it belongs to the first question")
    return faults


def picture_and_messages(entry: dict) -> tuple[object, object]:
    """An entry's "image" and "conversations"; of {"<image_00>": path} the path, and in the messages the common tag for that one."""
    image, messages = entry.get("image"), entry.get("conversations")
    if isinstance(image, dict) and len(image) == 1:
        [(tag, image)] = image.items()
        if isinstance(messages, list):
            messages = [message | {"content": message["content"].replace(tag, IMAGE_TAG)}
                        if isinstance(message, dict) and isinstance(message.get("content"), str) else message for message in messages]
    return image, messages


def parse_entry(entry: object, number: int, json_path: Path) -> tuple[Sample | None, list[Fault]]:
    """Turn one entry (the `number`th, from 0) into a Sample; the faults explain why there is none."""
    name = f"number {number + 1}"
    if not isinstance(entry, dict):
        return None, [Fault(name, f"is a {type(entry).__name__}; a sample is a JSON object")]
    if not isinstance(entry.get("id"), str | int) or isinstance(entry.get("id"), bool) or entry["id"] == "":
        return None, [Fault(name, 'has no "id"; give each sample a name of its own')]
    name = str(entry["id"])
    image, messages = picture_and_messages(entry)
    faults = []
    if isinstance(image, dict):
        faults.append(Fault(name, f"has {len(image)} pictures; one sample is one picture"))
    elif not isinstance(image, str) or not image:
        faults.append(Fault(name, 'has no "image"; give the path of its picture'))
    faults += [Fault(name, message) for message in message_faults(messages)]
    if faults:
        return None, faults
    turns = [Turn(message["role"], without_leading_tag(message["content"])) for message in messages]
    path = resolve_image(image, json_path)
    return Sample(name, image, path, turns[0].content, turns[1].content, turns), []


def sample_faults(sample: Sample, json_path: Path, need_images: bool, need_answers: bool) -> list[Fault]:
    """What keeps a well-formed sample from being used: no picture where one is needed, or nothing said."""
    faults = []
    if need_images and sample.path is None:
        folder = Path(json_path).resolve().parent
        faults.append(Fault(sample.id, f"the picture {sample.image} is neither in {folder}, nor in its parent, "
                                       "nor in the current folder; put it there or mend the path"))
    if not sample.question:
        faults.append(Fault(sample.id, "the question is empty"))
    if need_answers and any(turn.role == "assistant" and not turn.content for turn in sample.turns):
        faults.append(Fault(sample.id, "the answer is empty; label the picture again or remove the sample"))
    return faults


def scan(path: Path, need_images: bool, need_answers: bool) -> tuple[list[Sample], list[Fault]]:
    """Read every sample of the file `path`; returns those that can be used and all faults, in the file's order."""
    samples, faults, seen = [], [], set()
    for number, entry in enumerate(load_list(path)):
        sample, found = parse_entry(entry, number, path)
        if sample is not None:
            found += sample_faults(sample, path, need_images, need_answers)
            if sample.id in seen:
                found.append(Fault(sample.id, "the id stands in the file twice; ids must differ"))
            seen.add(sample.id)
        faults += found
        if sample is not None and not found:
            samples.append(sample)
    return samples, faults


def refusal(path: str | Path, faults: Sequence[Fault]) -> InputError:
    """The error for a conversation file that cannot be used: one sentence for one fault, for several a line each, up to `NAMED`."""
    if len(faults) == 1:
        return InputError(f"{path}, sample {faults[0].sample}: {faults[0].message}.")
    lines = [f"  sample {fault.sample}: {fault.message}" for fault in faults[:NAMED]]
    if len(faults) > NAMED:
        lines.append(f"  and {len(faults) - NAMED} more")
    return InputError("\n".join([f"{path} has {len(faults)} faults (captionlab check {path} looks for all that need no model):", *lines]))


def read_conversations(path: str | Path, need_images: bool = True, need_answers: bool = False) -> list[Sample]:
    """Read the conversation file `path`, all samples or none.

    With `need_images` every picture must exist (it is not opened here; `check_conversations` does); with `need_answers`
    every answer must say something, as training needs. Raises InputError naming the file and the faulty samples.
    """
    path = Path(path)
    samples, faults = scan(path, need_images, need_answers)
    if faults:
        raise refusal(path, faults)
    if not samples:
        raise InputError(f"{path} holds no samples; build it again.")
    return samples


def picture_faults(samples: Iterable[Sample]) -> list[Fault]:
    """Open and decode the picture of every sample; returns a fault for each one that cannot be used."""
    from helpers.core.images import open_image

    def look(path: Path) -> str | None:
        try:
            open_image(path)
        except InputError as error:
            return str(error).rstrip(".")
        return None

    samples = list(samples)
    paths = list(dict.fromkeys(sample.path for sample in samples))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        complaints = dict(zip(paths, threads.map(look, paths)))
    return [Fault(sample.id, complaints[sample.path]) for sample in samples if complaints[sample.path]]


def check_conversations(path: str | Path) -> list[Fault]:
    """Name every fault of the conversation file `path`, opening every picture too; an empty list means it can be trained on.

    A question without the picture's tag is a fault here, though files of others are read without it: what trains on them
    need not put the picture where it is meant to be.
    Raises InputError only when there is no list of samples to check at all.
    """
    path = Path(path)
    samples, faults = scan(path, need_images=True, need_answers=True)
    if not samples and not faults:
        return [Fault("none", f"{path} holds no samples")]
    return faults + untagged(load_list(path)) + picture_faults(samples)


def untagged(entries: list) -> list[Fault]:
    """A fault for each entry whose messages are in order, but name no picture."""
    found = []
    for number, entry in enumerate(entries, 1):
        messages = picture_and_messages(entry)[1] if isinstance(entry, dict) else None
        if not message_faults(messages) and not any(IMAGE_TAG in message["content"] for message in messages):
            found.append(Fault(str(entry.get("id", f"number {number}")), f"no {IMAGE_TAG} tag; put one at the start of the first question"))
    return found


def shared_pictures(files: Sequence[str | Path]) -> dict[Path, list[Fault]]:
    """The samples of each file but the first whose picture, or one that shows the same, is in a file before it.

    files: conversation files that must not share pictures, as train.json and eval.json. Samples that cannot be read are
    left to `check_conversations`. Returns {file: faults}; nothing for one file alone.
    """
    from helpers.core.duplicates import find_duplicates

    files = list(dict.fromkeys(Path(file) for file in files))
    if len(files) < 2:
        return {}
    samples = {file: scan(file, need_images=True, need_answers=False)[0] for file in files}
    found = find_duplicates([s.path.resolve() for file in files for s in samples[file]], progress=None)
    group = {path: number for number, paths in enumerate(found.groups) for path in paths}
    faults: dict[Path, list[Fault]] = {}
    first: dict[int | Path, tuple[Path, Sample]] = {}
    for file in files:
        for sample in samples[file]:
            path = sample.path.resolve()
            before, like = first.setdefault(group.get(path, path), (file, sample))
            if before != file:
                same = "the same picture as" if like.path.resolve() == path else "a near-duplicate of the picture of"
                faults.setdefault(file, []).append(Fault(sample.id, f"the picture {sample.image} is {same} {like.id} in {before}; keep it on one side"))
    return faults


def write_conversations(path: str | Path, samples: Iterable[Sample]) -> Path:
    """Write `samples` to the file `path` (UTF-8, readable Chinese), whole or not at all; returns the path."""
    entries = []
    for sample in samples:
        messages = [{"role": turn.role, "content": turn.content} for turn in sample.turns]
        messages[0]["content"] = with_tag(messages[0]["content"])
        entries.append({"id": sample.id, "image": sample.image, "conversations": messages})
    return write_text(path, json.dumps(entries, ensure_ascii=False, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` to the file `path` (UTF-8), whole or not at all; returns the path. Raises ResourceError when it cannot be."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ResourceError(f"{path} cannot be written ({error.strerror}); free space or choose another folder.") from error
    return path
