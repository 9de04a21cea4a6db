"""The kit's few photographs: those of scikit-image's wheel, with descriptions written for this kit.

Shape of the data: `data/photos/descriptions.yaml` → `Photo(name, path, title, credit, licence, descriptions)`, where
`descriptions[dimension][language]` is a text. The picture files are read where the installed scikit-image keeps
them; nothing is copied or downloaded. `data/photos/CREDITS.md` says who made each and under which licence.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import yaml

from helpers.core.errors import InputError, ResourceError
from helpers.core.paths import DATA

DESCRIPTIONS = DATA / "photos" / "descriptions.yaml"


@dataclass(frozen=True)
class Photo:
    """One photograph. `descriptions[dimension][language]`: what it shows, in "en" and "zh"."""

    name: str
    path: Path
    title: dict[str, str]
    credit: str
    licence: str
    descriptions: dict[str, dict[str, str]]


def photo_folder() -> Path:
    """Where the installed scikit-image keeps its pictures. Raises ResourceError when it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise ResourceError("scikit-image is not installed, and the kit's photographs come with it: "
                            "run `make .venv`, or `pip install scikit-image`")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def load_photos() -> list[Photo]:
    """All photographs, sorted by name.

    Raises ResourceError naming a picture that this scikit-image lacks, InputError for a damaged descriptions file.
    """
    try:
        records = yaml.safe_load(DESCRIPTIONS.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{DESCRIPTIONS} cannot be read ({type(error).__name__}): restore it") from error
    folder, photos = photo_folder(), []
    for name, record in sorted(records.items()):
        path = folder / record["file"]
        if not path.is_file():
            raise ResourceError(f"the installed scikit-image has no {record['file']}: install the version named in constraints.txt")
        photos.append(Photo(name, path, record["title"], record["credit"], record["licence"], record["descriptions"]))
    return photos


def photo_paths() -> list[Path]:
    """The photographs' files, sorted by name."""
    return [photo.path for photo in load_photos()]
