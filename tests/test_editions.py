"""The Chinese edition: no text changes on one side alone, twins are built alike, the glossary is kept, and the built notebooks run."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner

from helpers import cli
from helpers.core import editions
from helpers.core.agreement import HAN, disagreements, prose
from helpers.core.errors import InputError
from helpers.core.glossary import GLOSSARY, misused, read_glossary, used
from helpers.core.paths import NOTEBOOKS, ROOT

PAIRS = editions.pairs()
TERMS = read_glossary()


# the course's own texts

@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_both_sides_of_every_text_go_together(pair):
    assert not [str(fault) for fault in editions.check_pair(pair, TERMS)]


def test_the_built_notebooks_have_no_english_text_left(tmp_path):
    for built in editions.build(tmp_path):
        english = editions.markdown_cells(NOTEBOOKS / built.path.name)
        for cell, text in editions.markdown_cells(built.path).items():
            assert re.search(f"[{HAN}]", text) and text != english[cell], text


def test_the_glossary_explains_what_the_course_says():
    assert len(TERMS) >= 50
    said = "\n".join([*(text for pair in PAIRS for text in pair.cells.values()),
                      *((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "finetune/readme.md"))])
    unused = [term.english[0] for term in TERMS if not term.pattern.search(said)]
    assert not unused, f"{GLOSSARY.name} explains words that no notebook or README has"
    words = [word for term in TERMS for word in term.banned]
    assert not [word for word in words if word in {use for term in TERMS for use in term.chinese}], "a banned word is another term's own"


# the mechanism, on a notebook of a few cells

ENGLISH = {"title": "# 1 · Labels\n\nThe teacher writes 20 labels.",
           "table": "| label | token |\n|---|---|\n| `a.jpg` | $x^2$ |", "end": "See [here](b.ipynb)."}
CHINESE = {"title": "# 1 · 标注\n\n教师写 20 条标注。",
           "table": "| 标注 | 词元 |\n|---|---|\n| `a.jpg` | $x^2$ |", "end": "见[这里](b.ipynb)。"}


@pytest.fixture
def course(tmp_path) -> Path:
    """A folder like notebooks/: one notebook with code that prints where it runs, and its sealed twin."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    notebook.cells = [nbformat.v4.new_markdown_cell(text, id=name) for name, text in ENGLISH.items()]
    graded = {"nbgrader": {"grade": True, "grade_id": "sum", "points": 2, "schema_version": 3}}
    code = nbformat.v4.new_code_cell("print(6 * 7)", id="code", metadata=graded)
    code.outputs = [nbformat.v4.new_output("stream", text="42\n")]
    notebook.cells.insert(1, code)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(notebook, folder / "01_labels.ipynb")
    editions.write_blocks(folder / "zh" / "01_labels.md", [editions.Block(name, text) for name, text in CHINESE.items()])
    editions.seal(pair_of(folder))
    return folder


def pair_of(folder: Path) -> editions.Pair:
    """The only pair of a folder."""
    return editions.pairs(folder, folder / "docs")[0]


def faults_of(folder: Path) -> dict[str, list[str]]:
    """{cell: what is wrong} of the only pair."""
    found: dict[str, list[str]] = {}
    for fault in editions.check_pair(pair_of(folder), TERMS):
        found.setdefault(fault.cell, []).append(fault.message)
    return found


def change_english(folder: Path, cell: str, old: str, new: str) -> None:
    """Replaces text in a Markdown cell of the notebook."""
    notebook = nbformat.read(folder / "01_labels.ipynb", as_version=4)
    found = next(one for one in notebook.cells if one.id == cell)
    assert old in found.source
    found.source = found.source.replace(old, new)
    nbformat.write(notebook, folder / "01_labels.ipynb")


def change_chinese(folder: Path, old: str, new: str) -> None:
    """Replaces text in the twin's file."""
    file = folder / "zh" / "01_labels.md"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_two_sealed_sides_have_no_fault(course):
    assert faults_of(course) == {}


def test_a_change_of_one_side_alone_is_named_until_it_is_sealed(course):
    change_english(course, "title", "writes", "has written")
    change_chinese(course, "见[这里]", "请看[这里]")
    found = faults_of(course)
    assert found["title"] == ["the English has changed, the other side has not: read both, then seal"]
    assert found["end"] == ["the Chinese has changed, the other side has not: read both, then seal"]
    assert editions.seal(pair_of(course)) == 2
    assert faults_of(course) == {}


def test_line_breaks_alone_are_no_change(course):
    change_english(course, "title", "The teacher writes", "The teacher\nwrites")
    assert faults_of(course) == {}


@pytest.mark.parametrize("old, new, message", [
    ("20 条", "30 条", "numbers differ: only in English: 20; only in Chinese: 30"),
    ("`a.jpg`", "`b.jpg`", "inline code differ: only in English: a.jpg; only in Chinese: b.jpg"),
    ("$x^2$", "$x^3$", "formulas differ: only in English: $x^2$; only in Chinese: $x^3$"),
    ("(b.ipynb)", "(c.ipynb)", "links differ: only in English: b.ipynb; only in Chinese: c.ipynb"),
    ("\n| `a.jpg` | $x^2$ |", "", "cells in the rows of tables differ: [2, 2] in English, [2] in Chinese"),
    ("# 1 ·", "## 1 ·", "levels of headings differ: ['h1'] in English, ['h2'] in Chinese"),
    ("教师写", "老师写", "not 老师: the glossary says 教师 for 'teacher'"),
    ("标注\n\n教师写 20 条标注。", "说明\n\n教师写 20 条说明。", "the English says 'label', the Chinese has no 标注"),
    ("教师写", "The teacher writes no more than 教师写", "still English: The teacher writes no more than"),
    ("。", ".", "punctuation of the other script: 注."),
    ("教师写", "**教师：**写", "emphasis does not close: a ** between Chinese punctuation and a letter stays visible"),
    ("教师写", "*教师*写", "Chinese characters in italics, which they do not have: bold, or quotation marks, for 教师"),
    ("条标注。", "条\n标注。", "a line break inside a paragraph, which shows as a gap between Chinese characters: one line a paragraph"),
])
def test_what_a_program_can_see_of_a_translation_is_seen_also_when_sealed(course, old, new, message):
    change_chinese(course, old, new)
    editions.seal(pair_of(course))
    assert message in [text for texts in faults_of(course).values() for text in texts]


def test_numbers_are_compared_by_value():
    assert disagreements("A model of 752 million or 1.3 B, seen 10,000 times", "7.52 亿或 13 亿的模型，看了 1 万次") == []
    assert disagreements("In 2024", "在 2025 年") == ["numbers differ: only in English: 2024; only in Chinese: 2025"]


def test_cells_that_come_and_go_are_named(course):
    notebook = nbformat.read(course / "01_labels.ipynb", as_version=4)
    new = [nbformat.v4.new_markdown_cell("More.", id=cell) for cell in ("more", "0c7a95d0")]
    notebook.cells = [cell for cell in notebook.cells if cell.id != "end"] + new
    nbformat.write(notebook, course / "01_labels.ipynb")
    found = faults_of(course)
    assert found["more"] == ["has no Chinese twin"]
    assert found["0c7a95d0"][0].startswith("a random id")
    assert found["end"][0].startswith("is a twin of no cell")


def test_a_draft_adds_what_is_missing_and_loses_nothing(course):
    file = course / "zh" / "01_labels.md"
    kept = [block for block in editions.read_blocks(file) if block.cell != "table"]
    editions.write_blocks(file, [*kept, editions.Block("gone", "从前的话。")])
    assert editions.draft(pair_of(course)) == 1
    blocks = editions.read_blocks(file)
    assert [block.cell for block in blocks] == ["title", "table", "end", "gone"]
    assert blocks[1].text == ENGLISH["table"] and blocks[3].text == "从前的话。"
    assert "no Chinese in it" in faults_of(course)["table"]


def test_another_order_is_named(course):
    file = course / "zh" / "01_labels.md"
    editions.write_blocks(file, editions.read_blocks(file)[::-1])
    assert "the blocks are in another order than the cells: title, table, end" in faults_of(course)["01_labels.md"]


@pytest.mark.parametrize("text, message", [
    ("你好\n\n<!-- a -->\n", "begins without a line <!-- cell -->"),
    ("<!-- a -->\n甲\n\n<!-- a -->\n乙\n", "has two blocks called a"),
    ("<!-- a en:12 zh:34 -->\n甲\n", "cannot be read"),
])
def test_a_twin_that_cannot_be_read_is_one_sentence(tmp_path, text, message):
    file = tmp_path / "01_a.md"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        editions.read_blocks(file)


def test_a_document_whose_english_has_gone_is_named(course):
    (course / "docs" / "zh").mkdir(parents=True)
    (course / "docs" / "zh" / "map.md").write_text("<!-- map.md -->\n地图\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no English any more"):
        editions.pairs(course, course / "docs")


# the built notebooks

def test_building_keeps_code_outputs_and_a_graders_metadata(course, tmp_path):
    built = editions.build(tmp_path / "notebooks-zh", course)
    assert [(one.path.name, one.state, one.english) for one in built] == [("01_labels.ipynb", "written", ())]
    english, chinese = (nbformat.read(path, as_version=4) for path in (course / "01_labels.ipynb", built[0].path))
    nbformat.validate(chinese)
    assert [cell.id for cell in chinese.cells] == [cell.id for cell in english.cells]
    assert [cell for cell in chinese.cells if cell.cell_type == "code"] == [cell for cell in english.cells if cell.cell_type == "code"]
    assert {cell.id: cell.source for cell in chinese.cells if cell.cell_type == "markdown"} == CHINESE
    assert chinese.metadata.kernelspec == english.metadata.kernelspec


def test_building_again_never_touches_a_students_changes(course, tmp_path):
    out = tmp_path / "notebooks-zh"
    editions.build(out, course)
    target = out / "01_labels.ipynb"
    assert editions.build(out, course)[0].state == "there already"
    change_chinese(course, "见[", "请看[")
    assert editions.build(out, course)[0].state == "written"    # nobody has touched it: the newer one takes its place

    mine = nbformat.read(target, as_version=4)
    mine.cells[1].source = "print('mine')"
    nbformat.write(mine, target)
    before = target.read_bytes()
    assert editions.build(out, course)[0].state == "there already"    # changed by the student, and no newer one to offer
    change_chinese(course, "请看[", "请见[")
    assert editions.build(out, course)[0].state == "kept"
    assert target.read_bytes() == before
    for broken in ("{ half a notebook", "[1]", "{}", '{"nbformat": 4, "nbformat_minor": 5, "cells": 3, "metadata": {}}'):
        target.write_text(broken, encoding="utf-8")
        assert editions.build(out, course)[0].state == "kept"
        assert target.read_text(encoding="utf-8") == broken


def test_a_cell_without_chinese_stays_english_and_is_reported(course, tmp_path):
    file = course / "zh" / "01_labels.md"
    editions.write_blocks(file, editions.read_blocks(file)[:-1])
    for _ in range(2):
        built = editions.build(tmp_path / "out", course)[0]
        assert built.english == ("end",)
        assert nbformat.read(built.path, as_version=4).cells[-1].source == ENGLISH["end"]
        editions.draft(pair_of(course))    # a draft is no translation yet


def test_every_built_notebook_has_the_same_code(tmp_path):
    for built in editions.build(tmp_path):
        english, chinese = (nbformat.read(path, as_version=4) for path in (NOTEBOOKS / built.path.name, built.path))
        nbformat.validate(chinese)
        assert [cell for cell in chinese.cells if cell.cell_type == "code"] == [cell for cell in english.cells if cell.cell_type == "code"]
        assert [cell.metadata for cell in chinese.cells] == [cell.metadata for cell in english.cells]


def test_a_built_notebook_runs_where_make_lab_opens_it(tmp_path):
    built = next(one for one in editions.build(tmp_path) if one.path.stem == "00_environment")
    notebook = nbformat.read(built.path, as_version=4)
    wanted = next(place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code" and "profile.rows()" in cell.source)
    notebook.cells = notebook.cells[:wanted + 1]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert re.search(r"^profile +tiny$", notebook.cells[-1].outputs[0].text, re.MULTILINE)


# the commands

def test_make_lab_opens_the_edition_that_was_asked_for():
    def told(*words: str) -> str:
        return subprocess.run(["make", "--dry-run", "lab", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "captionlab edition --language zh" in told("EDITION=zh") and "--notebook-dir=notebooks-zh" in told("EDITION=zh")
    assert "captionlab edition" not in told() and "--notebook-dir=notebooks " in told()
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert "/notebooks-zh/" in ignored and editions.EDITION == ROOT / "notebooks-zh"


def test_the_command_builds_checks_and_seals(course, tmp_path, monkeypatch):
    everything = editions.pairs
    monkeypatch.setattr(editions, "pairs", lambda *folders: everything(*folders or (course, course / "docs")))

    def run(*words: object):
        return CliRunner().invoke(cli.app, ["edition", *map(str, words)])

    assert run("--check").stdout == "1 texts, no fault\n"
    change_english(course, "title", "writes", "wrote")
    answer = run("--check")
    assert answer.exit_code == 1 and "01_labels, title: the English has changed" in answer.stdout
    assert "1 digest(s)" in run("--seal", "01").stdout
    assert run("--check").exit_code == 0
    answer = run("--seal", "09")
    assert answer.exit_code == 1 and "09 names 0 texts; there are 01_labels" in answer.stderr
    monkeypatch.undo()
    answer = run("--out", tmp_path / "zh")
    assert answer.exit_code == 0 and f"{len(list(NOTEBOOKS.glob('*.ipynb')))} notebooks in" in answer.stdout


# the glossary by itself

def test_terms_are_whole_words_and_capitals_count():
    zero = next(term for term in TERMS if term.english[0] == "ZeRO")
    label = next(term for term in TERMS if term.english[0] == "label")
    assert used([zero], "ZeRO 3") == [zero] and used([zero], "begins at zero") == []
    assert used([label], "Labels are texts") == [label] and used([label], "labelled by hand") == []
    assert misused([label], "a `label`", "一个 `label`") == []    # code is no prose
    assert prose("a `b` $c$ *d* [e](f) g") == "a \x00 \x00 \x00 \x00 g"


@pytest.mark.parametrize("row, message", [
    ("| cap | 描述 | One. | |", "should have 5 cells"),
    ("| a | 甲 | One. | 一。 | |\n| a | 乙 | Two. | 二。 | |", "has 'a' twice"),
])
def test_a_faulty_glossary_is_one_sentence(tmp_path, row, message):
    file = tmp_path / "glossary.md"
    file.write_text(f"| English | 中文 | a | b | c |\n|---|---|---|---|---|\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_glossary(file)
