"""What the documents say, taken apart, for tests/test_documents.py: texts, links, headings, commands.

    README.md, CONTRIBUTING.md, docs/, …  ┐
    notebooks' Markdown cells             ┴→ Document(name, texts) → links(), anchors(), commands(), spans()

Markdown is read by markdown-it-py (CommonMark and tables). A `Command` is one simple command of a shell: its words, the variables set before it, and
whether it stands in a block to be run (`whole`) or in the middle of a sentence, where what is missing is understood.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from markdown_it.token import Token

from helpers.core.paths import ROOT

SHELLS = ("bash", "sh", "powershell")
PROGRAMS = r"(?:\S*[/\\])?(?:captionlab|make|bash|python[\d.]*|pip|pytest)"
_SETTING = re.compile(r"(?P<name>[A-Z][A-Z0-9_]+)=(?P<value>.*)", re.DOTALL)
_ATTRIBUTE = re.compile(r"""\b(?:href|src)=["']([^"']+)["']""")


@dataclass(frozen=True)
class Command:
    """One simple command. settings: {NAME: value} before it, or of `export`.  where: the document's name, for messages."""

    where: str
    words: tuple[str, ...]
    settings: dict[str, str]
    whole: bool
    text: str

    @property
    def program(self) -> str:
        """The first word without its folder: `.venv/bin/captionlab` and `.venv\\Scripts\\captionlab` are `captionlab`."""
        return re.split(r"[/\\]", self.words[0])[-1] if self.words else ""


@dataclass(frozen=True)
class Document:
    """A Markdown file, or the Markdown cells of a notebook."""

    name: str
    texts: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return ROOT / self.name

    @property
    def folder(self) -> Path:
        """From where its links are read: a notebook's Chinese text stands in notebooks-zh/ when it is built, beside notebooks/."""
        return ROOT / "notebooks" if self.name.startswith("notebooks/zh/") else self.path.parent

    @property
    def text(self) -> str:
        """All of it."""
        return "\n\n".join(self.texts)

    @cached_property
    def tokens(self) -> list[Token]:
        """Its tokens, those inside of paragraphs and table cells among the others."""
        parser = MarkdownIt("commonmark", {"html": True}).enable("table")
        flat = []
        for text in self.texts:
            for token in parser.parse(text):
                flat += [token, *(token.children or [])]
        return flat

    def links(self) -> Iterator[str]:
        """Where its links, pictures and HTML attributes lead."""
        for token in self.tokens:
            if token.type in ("link_open", "image"):
                yield str(token.attrGet("href") or token.attrGet("src"))
            elif token.type in ("html_inline", "html_block"):
                yield from _ATTRIBUTE.findall(token.content)

    def anchors(self) -> set[str]:
        """What a link may name after the # : headings as GitHub writes them, and as JupyterLab does in a notebook."""
        found: list[str] = []
        for place, token in enumerate(self.tokens):
            if token.type == "heading_open":
                said = "".join(child.content for child in self.tokens[place + 1].children or [] if child.type in ("text", "code_inline"))
                slug = re.sub(r"[^\w\- ]", "", said.lower()).replace(" ", "-")
                found += [slug if slug not in found else f"{slug}-{found.count(slug)}"]
                if self.name.endswith(".ipynb"):
                    found.append(said.replace(" ", "-"))
        return {*found, *re.findall(r"""\bid=["']([^"']+)["']""", self.text)}

    def spans(self) -> Iterator[str]:
        """What stands in `backquotes`."""
        return (token.content for token in self.tokens if token.type == "code_inline")

    def blocks(self, *languages: str) -> Iterator[str]:
        """Code blocks of these languages."""
        return (token.content for token in self.tokens if token.type == "fence" and token.info.strip().split(" ")[0] in languages)

    def commands(self) -> Iterator[Command]:
        """Every command of its shell blocks, and those of ours among its spans."""
        for block in self.blocks(*SHELLS):
            yield from read_commands(block, self.name, whole=True)
        for span in self.spans():
            if re.match(rf"(?:[A-Z_]+=\S* )*{PROGRAMS}(?: |$)", span):
                yield from read_commands(span, self.name, whole=False)


def read_commands(text: str, where: str, whole: bool) -> Iterator[Command]:
    """The simple commands of a piece of shell: at line ends, `;`, `&&` and `|`; comments are none."""
    text = text.replace("\\\n", " ").replace("`\n", " ")
    for line in text.splitlines():
        # A backslash means a folder in PowerShell's lines and quotes a character nowhere in ours.
        lexer = shlex.shlex(line.replace("\\", "/"), posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set(";&|"):
                words.append(word)
                continue
            if words:
                yield _command(words, where, whole, line.strip())
            words = []


def _command(words: list[str], where: str, whole: bool, text: str) -> Command:
    settings = {}
    if words[0] == "export":
        words = words[1:]
    while words and (found := _SETTING.fullmatch(words[0])):
        settings[found["name"]], words = found["value"], words[1:]
    return Command(where, tuple(words), settings, whole, text)


def read_documents() -> list[Document]:
    """All that people read: Markdown files of the repository but the model's card, and the notebooks."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "finetune").glob("*.md"), *(ROOT / "data" / "photos").glob("*.md"),
             *(ROOT / "notebooks").rglob("*.md")]
    read = [Document(path.relative_to(ROOT).as_posix(), (path.read_text(encoding="utf-8"),)) for path in sorted(files)]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        read.append(Document(path.relative_to(ROOT).as_posix(), tuple(cell.source for cell in cells if cell.cell_type == "markdown")))
    return read
