"""Every notebook: the shape that the course promises, and outputs stored from one run, top to bottom.

That every cell runs is tested by nbval, which pytest applies to notebooks/ (see pyproject.toml); cells marked
NBVAL_CHECK_OUTPUT must then give the very output that is stored.
"""

import ast
import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

from helpers.core.exercises import grade_id
from helpers.core.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECTIONS = ("What you will do", "What you learned", "Exercises", "Where to go next")
# Notebooks that do not name their sources yet, with the reason. Must be empty in a release.
WITHOUT_SOURCES: dict[str, str] = {}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    """One notebook as nbformat reads it, checked against the format's schema."""
    content = nbformat.read(request.param, as_version=4)
    nbformat.validate(content)
    return content


def code_cells(notebook):
    """The cells with code, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def plain_code(source: str) -> str:
    """A cell's Python, without the magics that only IPython reads."""
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))


def test_there_are_notebooks():
    assert Path("00_environment.ipynb").name in [path.name for path in NOTEBOOKS]


def test_pytest_runs_every_notebook_through_nbval(pytestconfig):
    assert pytestconfig.option.nbval_lax
    assert "notebooks" in pytestconfig.getini("testpaths")


def test_opens_without_asking_for_a_kernel(notebook):
    assert notebook.metadata.get("kernelspec", {}).get("name") == "python3", "open it in JupyterLab with the kernel python3, and save it"


def test_has_the_shape_of_the_course(notebook):
    headings = [line.lstrip("# ") for cell in notebook.cells if cell.cell_type == "markdown"
                for line in cell.source.splitlines() if line.startswith("#")]
    assert not [section for section in SECTIONS if section not in headings], "a notebook has these headings"
    places = [headings.index(section) for section in SECTIONS]
    assert places == sorted(places)
    assert notebook.cells[0].source.startswith("# ")
    assert "| minutes |" in next(cell.source for cell in notebook.cells if "What you will do" in cell.source)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_ends_with_its_sources(path):
    last = nbformat.read(path, as_version=4).cells[-1]
    named = last.cell_type == "markdown" and last.source.startswith("## Sources\n")
    assert named != (path.stem in WITHOUT_SOURCES), "name the sources at the end; a notebook that does is not in WITHOUT_SOURCES"
    if named:
        items = [line for line in last.source.splitlines() if line.startswith("- ")]
        assert len(items) >= 3
        assert not [line for line in items if not re.match(r"- [^:\[]+: \[[^]]+\]\(https://[^)]+\)\.", line)], "author, year: [title](address)."


def test_the_course_map_tells_every_notebooks_minutes():
    minutes = {}
    for path in NOTEBOOKS:
        table = next(cell.source for cell in nbformat.read(path, as_version=4).cells if "What you will do" in cell.source)
        minutes[path.name] = sum(int(number) for number in re.findall(r"\| (\d+) \|$", table, re.MULTILINE))
    overview = next(cell.source for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells if cell.source.startswith("## The course\n"))
    for text in ((ROOT / "docs" / "course_map.md").read_text(encoding="utf-8"), overview):
        rows = re.findall(r"^\|.*?\((?:\.\./notebooks/)?(\d\d_\w+\.ipynb)\).*\| (\d+) \|$", text, re.MULTILINE)
        assert {name: int(number) for name, number in rows} == minutes


def test_is_stored_with_the_outputs_of_one_run(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run all cells from top to bottom, then save"
    for cell in code_cells(notebook):
        assert cell.outputs, f"this cell shows nothing:\n{cell.source}"
        assert not [output for output in cell.outputs if output.output_type == "error"], cell.source


def test_cells_are_small_and_define_no_machinery(notebook):
    assert median(len(cell.source.splitlines()) for cell in code_cells(notebook)) < 10
    for cell in code_cells(notebook):
        if (grade_id(cell) or "").startswith("exercise-"):
            continue    # in the answer to an exercise students write functions
        tree = ast.parse(plain_code(cell.source))
        assert not [node for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))], cell.source


def test_outputs_tell_nothing_of_the_machine_they_were_made_on(notebook):
    pattern = re.compile(r"/(home|Users|root|tmp|work|var)/[\w.-]+|[A-Z]:\\\\|\bsk-[0-9a-f]{16,}")
    for cell in code_cells(notebook):
        for output in cell.outputs:
            texts = [output.get("text", ""), *(value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))]
            assert not [match[0] for text in texts for match in pattern.finditer(text)], cell.source


def test_prints_which_profile_it_runs(notebook):
    printed = "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    assert re.search(r"^profile\s+(tiny|lab)", printed, re.MULTILINE)
