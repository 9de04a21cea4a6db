"""SPICE: compares what captions say as objects, attributes and relations. Needs a parser that is fetched on request only.

    `captionlab fetch spice`  --fetch_corenlp-->  two jars of Stanford CoreNLP 3.6.0 in a folder of the user's
    captions, references      --spice_scores--->  {system: {"SPICE": (n,)}}   one Java start for all systems

pycocoevalcap fetches CoreNLP over plain HTTP, unchecked, the moment its class is made. Here nothing is fetched unless the
command is given; it goes over HTTPS, and the archive is unpacked only when its checksum is right.

SPICE parses English only. Its memory is bounded, and it writes nothing outside a temporary folder.
Source: Anderson et al. 2016. The checksum of the archive is the one that HazyResearch's DeepDive pinned in 2016.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from tqdm.auto import tqdm

from helpers.core import java
from helpers.core.errors import InputError, ResourceError

ARCHIVE = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"  # 536 MB
SHA1 = "55c9d653eb30ace7d5a60eb3138e424f9442e539"
JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
RUNNER = Path(__file__).parent / "spice_runner"
NOTE = "SPICE 1.0 with Stanford CoreNLP 3.6.0, English; the mean F score of each picture's objects, attributes and relations."


def cache_folder() -> Path:
    """Where fetched programs lie: CAPTIONLAB_CACHE, or `.cache/captionlab` in the user's home."""
    return Path(os.environ.get("CAPTIONLAB_CACHE") or Path.home() / ".cache" / "captionlab")


@dataclass(frozen=True)
class SpiceSettings:
    """folder: where CoreNLP's jars lie.  memory: the most heap Java may take.  threads: of the parser.
    patience: seconds after which the program is given up."""

    folder: Path = field(default_factory=lambda: cache_folder() / "corenlp-3.6.0")
    memory: str = "3g"
    threads: int = 2
    patience: float = 3600.0


def fetch_corenlp(folder: Path | None = None, *, address: str = ARCHIVE, sha1: str = SHA1, progress: bool = True) -> list[Path]:
    """Downloads CoreNLP's archive, checks it, and unpacks the two jars that SPICE needs; returns their paths.

    Done already, it does nothing. Raises: InputError for an address that is not HTTPS (but on this machine itself);
    ResourceError when the download fails or the checksum is wrong: then nothing is kept.
    """
    folder = folder or SpiceSettings().folder
    found = [folder / name for name in JARS]
    if all(path.is_file() for path in found):
        return found
    _check_address(address)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "corenlp.zip.part"
    try:
        _download(address, archive, sha1, progress)
        with zipfile.ZipFile(archive) as files:
            for path in found:
                inside = [entry for entry in files.namelist() if entry.rsplit("/", 1)[-1] == path.name]
                if not inside:
                    raise ResourceError(f"{address} holds no {path.name}; it is not the archive that SPICE needs.")
                half = path.with_name(path.name + ".part")
                with files.open(inside[0]) as source, half.open("wb") as target:
                    shutil.copyfileobj(source, target)
                os.replace(half, path)
    except zipfile.BadZipFile:
        raise ResourceError(f"{address} is no zip archive; nothing was kept.") from None
    finally:
        archive.unlink(missing_ok=True)
    return found


def spice_scores(words: Mapping[str, Sequence[str]], gold: Sequence[Sequence[str]], language: str,
                 settings: SpiceSettings | None = None) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """SPICE of every caption of every system, {system: {"SPICE": (n,)}}, and how it was computed.

    words: {system: n tokenized captions}.  gold: n lists of tokenized references.
    Raises: ResourceError that says what is missing and how to get it, or why the program ended.
    """
    if language != "en":
        raise ResourceError("SPICE's parser reads English only; there is no SPICE of captions in another language.")
    settings = settings or SpiceSettings()
    if missing := [name for name in JARS if not (settings.folder / name).is_file()]:
        raise ResourceError(f"SPICE needs Stanford CoreNLP 3.6.0 ({missing[0]} is not here); `captionlab fetch spice` gets it, 536 MB, once.")
    jobs = [(name, place) for name, column in words.items() for place in range(len(column))]
    with tempfile.TemporaryDirectory(prefix="captionlab-spice-") as folder:
        given, wanted = Path(folder, "captions.json"), Path(folder, "scores.json")
        given.write_text(json.dumps([{"image_id": number, "test": words[name][place], "refs": list(gold[place])}
                                     for number, (name, place) in enumerate(jobs)]), encoding="utf-8")
        _run(given, wanted, settings)
        scores = {entry["image_id"]: entry["scores"]["All"]["f"] for entry in json.loads(wanted.read_text(encoding="utf-8"))}
    found = {name: {"SPICE": np.zeros(len(gold))} for name in words}
    for number, (name, place) in enumerate(jobs):
        if scores.get(number) is None:
            raise ResourceError(f"SPICE gave no score for caption number {place + 1} of {name}.")
        found[name]["SPICE"][place] = scores[number]
    return found, NOTE


def _run(given: Path, wanted: Path, settings: SpiceSettings) -> None:
    """Starts SPICE on a file of captions and waits for its file of scores."""
    jar = java.jar("spice", "spice-1.0.jar")
    parts = [RUNNER, jar, *sorted((jar.parent / "lib").glob("*.jar")), *(settings.folder / name for name in JARS)]
    # CoreNLP 3.6.0 is of Java 8's time: it looks into classes that later versions keep closed.
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in ("java.lang", "java.util", "java.math", "java.net", "java.text")]
    arguments = [f"-Xmx{settings.memory}", *opened, "-cp", os.pathsep.join(map(str, parts)), "edu.anu.spice.SpiceRunner",
                 str(given), str(wanted), str(settings.threads)]
    with java.Program("SPICE", arguments, given.parent) as program, program.deadline(settings.patience):
        program.process.stdin.close()
        program.process.stdout.read()
        if program.process.wait() != 0 or not wanted.is_file():
            raise program.died()


def _check_address(address: str) -> None:
    """Raises InputError unless what is fetched cannot be changed on its way: HTTPS, or this machine itself."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise InputError(f"{address} is not an https address; programs are fetched over https only.")


class _StaysOnHttps(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only where `_check_address` would let the first request go."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(address: str, target: Path, sha1: str, progress: bool) -> None:
    """Writes what is at `address` to `target`. Raises: ResourceError for a network fault, a full disk, a wrong checksum."""
    digest = hashlib.sha1()
    try:
        with urllib.request.build_opener(_StaysOnHttps).open(address, timeout=60) as answer, target.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc="Stanford CoreNLP 3.6.0", disable=not progress, leave=False) as bar:
                while part := answer.read(1 << 20):
                    digest.update(part)
                    file.write(part)
                    bar.update(len(part))
    except (urllib.error.URLError, TimeoutError, ConnectionError, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ResourceError(f"{address} could not be fetched: {reason}; nothing was kept, so try again.") from error
    if digest.hexdigest() != sha1:
        raise ResourceError(f"What {address} gave has the SHA-1 {digest.hexdigest()} instead of {sha1}; it was thrown away. "
                            "It was cut short or is another file: try again.")
