"""The Chinese edition: every Markdown text of the course has a Chinese twin, and the two cannot drift apart unseen.

The twin of `notebooks/NN_name.ipynb` is `notebooks/zh/NN_name.md`, one block a Markdown cell, in the cells' order; that of `docs/NAME.md` is
`docs/zh/NAME.md`, one block. Each block stands under a comment that names the cell and holds a digest of either side, as they were when
somebody last read both together:

    <!-- cell-04 en:1a2b3c4d zh:5e6f7a8b -->
    ## 你要做什么

So a reader of the file sees Chinese Markdown and nothing else, and a program sees which side has changed since. (A gettext catalogue would tell
only changes of the English, and hold the tables as quoted strings.) Two further checks are of `agreement`, what two texts must have in common,
and of `glossary`, one word for one thing.

    pairs()            every notebook, and every document that docs/zh has, as a `Pair`
    check_pair(pair)   what is wrong with it, cell by cell
    seal(pair)         "I have read both": writes the digests anew
    draft(pair)        adds the blocks that are missing, holding the English to be translated in place
    build(out)         the notebooks in Chinese, ready to run: same code, same outputs, same metadata; never over a student's own changes
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from helpers.core.agreement import disagreements
from helpers.core.errors import InputError
from helpers.core.glossary import Term, misused, read_glossary
from helpers.core.paths import NOTEBOOKS, ROOT

DOCS = ROOT / "docs"
LANGUAGE = "zh"
EDITION = ROOT / "notebooks-zh"    # beside notebooks/, so that relative paths in cells mean the same
STAMP = "captionlab"               # key of a built notebook's metadata
_MARKER = re.compile(r"<!-- (?P<cell>[\w.-]+)(?: en:(?P<english>[0-9a-f]{8}) zh:(?P<chinese>[0-9a-f]{8}))? -->")
_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-?[0-9a-f]{4,12})?")    # what nbformat and JupyterLab call a new cell


@dataclass(frozen=True)
class Block:
    """The Chinese of one cell, and the digests of both sides when they were last read together ("" before that)."""

    cell: str
    text: str
    english: str = ""
    chinese: str = ""

    def __str__(self) -> str:
        """The block as it stands in a file."""
        digests = f" en:{self.english} zh:{self.chinese}" if self.english else ""
        return f"<!-- {self.cell}{digests} -->\n{self.text}\n"


@dataclass(frozen=True)
class Pair:
    """An English text and the file of its Chinese twin. cells: {id: Markdown}, in order; a document is one cell, called like its file."""

    name: str
    cells: Mapping[str, str]
    twin: Path

    def blocks(self) -> list[Block]:
        """The blocks of the twin, none if there is no such file yet. Raises: InputError where the file cannot be read."""
        return read_blocks(self.twin) if self.twin.is_file() else []


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one cell's twin."""

    name: str
    cell: str
    message: str

    def __str__(self) -> str:
        """One line for a terminal."""
        return f"{self.name}, {self.cell}: {self.message}"


@dataclass(frozen=True)
class Built:
    """One notebook of the edition. state: "written", "there already" or "kept" (somebody changed it); english: cells that have no Chinese yet."""

    path: Path
    state: str
    english: tuple[str, ...]


def digest(text: str) -> str:
    """Eight hexadecimal digits that change with the words of a text, not with its line breaks."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:8]


def read_blocks(file: Path) -> list[Block]:
    """The blocks of a twin's file. Raises: InputError when text stands before the first marker, or a cell has two blocks."""
    pieces = re.split(r"^(<!-- [\w.-]+(?: en:.*)? -->)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if pieces[0].strip():
        raise InputError(f"{file} begins without a line <!-- cell -->: put the text that stands above the first of them under one.")
    blocks = []
    for marker, text in zip(pieces[1::2], pieces[2::2]):
        match = _MARKER.fullmatch(marker)
        if match is None:
            raise InputError(f"{file}: the line {marker} cannot be read; take the digests out of it, and seal again after reading both texts.")
        blocks.append(Block(match["cell"], text.strip("\n"), match["english"] or "", match["chinese"] or ""))
    for place, block in enumerate(blocks):
        if block.cell in [before.cell for before in blocks[:place]]:
            raise InputError(f"{file} has two blocks called {block.cell}: give the second the id of its own cell.")
    return blocks


def write_blocks(file: Path, blocks: Sequence[Block]) -> None:
    """Writes a twin's file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(str, blocks)), encoding="utf-8")


def markdown_cells(notebook: Path) -> dict[str, str]:
    """{id: text} of a notebook's Markdown cells, in order."""
    return {cell.id: cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "markdown"}


def pairs(notebooks: Path = NOTEBOOKS, docs: Path = DOCS) -> list[Pair]:
    """All notebooks, and the documents that have a twin in docs/zh."""
    books = [_notebook_pair(path) for path in sorted(notebooks.glob("*.ipynb"))]
    papers = [Pair(f"docs/{path.name}", {path.name: _document(docs / path.name)}, path) for path in sorted((docs / LANGUAGE).glob("*.md"))]
    return books + papers


def _notebook_pair(path: Path) -> Pair:
    """A notebook and its twin."""
    return Pair(path.stem, markdown_cells(path), path.parent / LANGUAGE / f"{path.stem}.md")


def _document(path: Path) -> str:
    """The text of a document. Raises: InputError when it has gone and left its twin behind."""
    if not path.is_file():
        raise InputError(f"{path.parent / LANGUAGE / path.name} has no English any more: there is no {path}; remove the one or write the other.")
    return path.read_text(encoding="utf-8")


def find_pair(name: str, among: Sequence[Pair] | None = None) -> Pair:
    """The pair that a number ("04") or a name ("04_finetuning", "course_map") means. Raises: InputError where that is none, or several."""
    among = pairs() if among is None else among
    found = [pair for pair in among if name in (pair.name, pair.name.split("_")[0], Path(pair.name).stem)]
    if len(found) != 1:
        raise InputError(f"{name} names {len(found)} texts; there are {', '.join(pair.name for pair in among)}.")
    return found[0]


def check_pair(pair: Pair, terms: Sequence[Term] | None = None) -> list[Fault]:
    """Everything that is wrong with a pair, cell by cell. terms: the glossary; None reads the course's own."""
    terms = read_glossary() if terms is None else terms
    blocks = {block.cell: block for block in pair.blocks()}
    found: list[tuple[str, str]] = []
    for cell, english in pair.cells.items():
        if _RANDOM.fullmatch(cell):
            found.append((cell, "a random id: give the cell a name that tells what it is about"))
        if cell not in blocks:
            found.append((cell, "has no Chinese twin"))
            continue
        block = blocks[cell]
        found += [(cell, message) for message in (*_drift(english, block), *disagreements(english, block.text), *misused(terms, english, block.text))]
    found += [(cell, "is a twin of no cell: move its text to the cell that took its place, or remove it")
              for cell in blocks if cell not in pair.cells]
    common = [cell for cell in pair.cells if cell in blocks]
    if common != [cell for cell in blocks if cell in pair.cells]:
        found.append((pair.twin.name, f"the blocks are in another order than the cells: {', '.join(common)}"))
    return [Fault(pair.name, cell, message) for cell, message in found]


def _drift(english: str, block: Block) -> list[str]:
    """Which side has changed since both were read together."""
    again = "read both, then seal"
    if not block.english:
        return [f"is not sealed yet: {again}"]
    sides = (("English", english, block.english), ("Chinese", block.text, block.chinese))
    changed = [side for side, text, known in sides if digest(text) != known]
    if len(changed) == 1:
        return [f"the {changed[0]} has changed, the other side has not: {again}"]
    return [f"both sides have changed: {again}"] if changed else []


def seal(pair: Pair) -> int:
    """Says that both sides of every block were read together; returns how many digests that changed. What else is wrong stays wrong."""
    blocks = pair.blocks()
    sealed = [Block(b.cell, b.text, digest(pair.cells[b.cell]), digest(b.text)) if b.cell in pair.cells else b for b in blocks]
    if sealed != blocks:
        write_blocks(pair.twin, sealed)
    return sum(new != old for new, old in zip(sealed, blocks))


def draft(pair: Pair) -> int:
    """Adds a block for every cell that has none, holding its English, in the cells' order; returns how many. No block is removed."""
    blocks = {block.cell: block for block in pair.blocks()}
    missing = [cell for cell in pair.cells if cell not in blocks]
    orphans = [block for cell, block in blocks.items() if cell not in pair.cells]
    write_blocks(pair.twin, [blocks.get(cell) or Block(cell, text) for cell, text in pair.cells.items()] + orphans)
    return len(missing)


def build(out: Path = EDITION, notebooks: Path = NOTEBOOKS) -> list[Built]:
    """Writes every notebook with its Markdown in Chinese; code, outputs and metadata (also a grader's) as they are.

    A notebook in `out` that is not as it was built belongs to whoever changed it: it is kept, and reported as "kept" where a newer one could
    have been written. A cell that has no Chinese yet, or a draft in English, stays English and is reported.
    """
    out.mkdir(parents=True, exist_ok=True)
    built = []
    for path in sorted(notebooks.glob("*.ipynb")):
        pair, notebook = _notebook_pair(path), nbformat.read(path, as_version=4)
        chinese = {block.cell: block.text for block in pair.blocks() if block.text != pair.cells.get(block.cell)}
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = chinese.get(cell.id, cell.source)
        notebook.metadata[STAMP] = {"edition": LANGUAGE}
        notebook.metadata[STAMP]["built"] = _fingerprint(notebook)
        nbformat.validate(notebook)
        built.append(Built(out / path.name, _place(notebook, out / path.name), tuple(cell for cell in pair.cells if cell not in chinese)))
    return built


def edition_command(check: bool, sealed: Sequence[str], drafted: Sequence[str], out: Path | None, say: Callable[[str], None]) -> bool:
    """What `captionlab edition` does: drafts and seals the texts named, then checks all, or builds where nothing was asked for.

    say: gets each line for the terminal. Returns False if the check found a fault.
    """
    texts = pairs()
    for name in drafted:
        say(f"{name}: {draft(find_pair(name, texts))} block(s) to translate")
    for name in sealed:
        say(f"{name}: {seal(find_pair(name, texts))} digest(s) written anew")
    if check:
        faults = [fault for text in texts for fault in check_pair(text)]
        say("\n".join(map(str, faults)) or f"{len(texts)} texts, no fault")
        return not faults
    if not (drafted or sealed):
        _tell(out or EDITION, build(out or EDITION), say)
    return True


def _tell(out: Path, built: Sequence[Built], say: Callable[[str], None]) -> None:
    """What `build` did, and what a reader should know of single notebooks."""
    say(f"{len(built)} notebooks in {_short(out)}")
    for one in built:
        if one.state == "kept":
            say(f"{_short(one.path)} has changes of yours and stays as it is, though there is a newer one: rename it and run this again to get that.")
        if one.english:
            say(f"{one.path.name}: {len(one.english)} cell(s) have no Chinese yet and stay English")


def _short(path: Path) -> Path:
    """A path as seen from the repository."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _place(notebook: nbformat.NotebookNode, target: Path) -> str:
    """Writes a built notebook unless somebody's changes are in its place; returns what was done."""
    if target.exists():
        known, as_built = _state(target)
        if known == notebook.metadata[STAMP]["built"]:
            return "there already"
        if not as_built:
            return "kept"
    unfinished = target.with_suffix(".unfinished")
    nbformat.write(notebook, unfinished)
    os.replace(unfinished, target)
    return "written"


def _state(target: Path) -> tuple[str | None, bool]:
    """What a notebook was built as, and whether it still is that; a file that cannot be read is somebody's."""
    try:
        notebook = nbformat.read(target, as_version=4)
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError):    # what nbformat raises of files that are no notebooks
        return None, False
    built = notebook.metadata.get(STAMP, {}).get("built")
    return built, built == _fingerprint(notebook)


def _fingerprint(notebook: nbformat.NotebookNode) -> str:
    """Changes with anything in a notebook but the stamp itself."""
    content = {**notebook, "metadata": {key: value for key, value in notebook.metadata.items() if key != STAMP}}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
