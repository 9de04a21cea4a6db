"""What can be measured about a machine and an installation, one function for each question.

    pinned_versions(text of constraints.txt)   -> {"torch": "2.15.0", …} for this system
    read_weights(model.safetensors)            -> (parameters, bytes), or a ValueError that says what is wrong with the file
    describe_device()                          -> "2 x NVIDIA A100-SXM4-80GB, 79 GiB each", "CPU, 2 threads"

`helpers/environment.py` makes the doctor's report of them; nothing here judges.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
import subprocess
from pathlib import Path

GIB = 1024**3
PATIENCE = 30  # seconds for a program to answer


def pinned_versions(constraints: str) -> dict[str, str]:
    """name (normalised) -> version from the text of a constraints file, lines whose mark does not hold here left out."""
    from packaging.requirements import Requirement

    pins = {}
    for line in constraints.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                pins[normalise(requirement.name)] = next(iter(requirement.specifier)).version
    return pins


def normalise(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def describe_device() -> str:
    """What torch computes on here: "2 x NVIDIA A100-SXM4-80GB, 80 GiB each", "MPS (Apple)" or "CPU, 2 threads"."""
    import torch

    if torch.cuda.is_available():
        cards: dict[str, int] = {}
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            card = f"{properties.name}, {properties.total_memory / GIB:.0f} GiB"
            cards[card] = cards.get(card, 0) + 1
        return "; ".join(card if number == 1 else f"{number} x {card} each" for card, number in cards.items())
    if torch.backends.mps.is_available():
        return "MPS (Apple)"
    return f"CPU, {torch.get_num_threads()} threads"


def name_accelerator() -> None:
    """Tell DeepSpeed that it computes on the CPU where torch finds no GPU; unasked, it guesses the same and warns.

    DeepSpeed reads DS_ACCELERATOR when it is first imported, so this comes before that import.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def read_weights(path: Path) -> tuple[int, int]:
    """(number of parameters, size in bytes) of a safetensors file whose header agrees with its length.

    Raises: ValueError saying what is wrong: cut off, or a Git LFS pointer in the place of the file. OSError as it comes.
    Format: 8 bytes with the header's length, little endian; the header in JSON; the tensors' bytes.
    """
    with path.open("rb") as file:
        start = file.read(8)
        size = path.stat().st_size
        if len(start) < 8 or start == b"version ":
            raise ValueError("a pointer or a stump, not the weights")
        length = struct.unpack("<Q", start)[0]
        if length + 8 > size:
            raise ValueError("cut off inside its header")
        header = json.loads(file.read(length))
    tensors = [value for name, value in header.items() if name != "__metadata__"]
    if max(tensor["data_offsets"][1] for tensor in tensors) + 8 + length != size:
        raise ValueError(f"cut off at {size} bytes")
    return sum(math.prod(tensor["shape"]) for tensor in tensors), size


def short(path: Path) -> str:
    """`path` for a report: from the home folder as ~, otherwise its last part only."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else f"…/{path.name}"


def run_program(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program on `text` and return what it said; one that does not answer counts as failed (exit 124)."""
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE, errors="replace")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {PATIENCE} seconds")
