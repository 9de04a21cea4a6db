"""The exercises of every notebook: written as nbgrader needs them, and checks that tell right answers from wrong ones.

Each notebook runs once, without the cells that grading skips. Before each exercise's own solution, its check meets the stub that the
students' edition has in that place, and the answers of wrong_answers.yaml.
"""


import os
import subprocess
import sys

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from nbgrader.nbgraderformat import MetadataValidator

from helpers.core.assignments import release
from helpers.core.errors import InputError
from helpers.core.exercises import find_faults, grade_id, is_skipped, read_exercises, read_notebook, without_hidden_tests
from helpers.core.paths import NOTEBOOKS, ROOT
from tests.small_assignment import small_notebook

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
WRONG = yaml.safe_load((ROOT / "tests" / "wrong_answers.yaml").read_text(encoding="utf-8"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    """Each notebook."""
    return request.param


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The folder of the students' edition, written by the command; in a terminal in which the environment is not activated."""
    folder = tmp_path_factory.mktemp("released")
    environment = {**os.environ, "PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "helpers.cli", "release", "--out", str(folder)], cwd=ROOT, check=True, env=environment)
    return folder


def test_every_notebook_is_released_with_what_it_shows(released):
    for each in PATHS:
        before, after = read_notebook(each), read_notebook(released / each.name)
        lessons = [[(cell.source, cell.get("outputs")) for cell in notebook.cells if not grade_id(cell)] for notebook in (before, after)]
        assert lessons[0] == lessons[1]


def test_three_to_five_exercises_that_nbgrader_can_read(path):
    notebook = read_notebook(path)
    exercises = read_exercises(path, notebook)
    assert 3 <= len(exercises) <= 5
    MetadataValidator().validate_nb(notebook)
    assert exercises[0].points < exercises[-1].points, "exercises rise from watching to building"
    lines = [len(notebook.cells[place].source.splitlines()) for one in exercises for place in (one.answer, one.check)]
    assert max(lines) <= 14


def test_checks_give_points_to_solutions_alone(path, released):
    notebook, student = read_notebook(path), read_notebook(released / path.name)
    exercises, wrong = read_exercises(path, notebook), WRONG[path.stem]
    for one in exercises:
        assert set(wrong.get(f"exercise-{one.number}") or ()) == {"seen", "hidden"}, f"tests/wrong_answers.yaml: {path.stem}, exercise-{one.number} needs seen and hidden"
    assert len(wrong) == len(exercises), f"tests/wrong_answers.yaml: {path.stem} has answers to an exercise that is not there"
    # What runs, whether it may end well (None: it may do either), and what to call it.
    runs = [(cell.source, True, "lesson") for cell in notebook.cells if cell.cell_type == "code" and not grade_id(cell) and not is_skipped(cell)]
    for one in exercises:
        name = f"exercise-{one.number}"
        solution, check = (notebook.cells[place].source for place in (one.answer, one.check))
        stub, seen = (student.cells[place].source for place in (one.answer, one.check))
        runs += [(stub, None, f"{name}, stub"), (seen, False, f"{name}, stub")]
        for answer in wrong[name]["seen"]:
            runs += [(answer, True, f"{name}, seen"), (seen, False, f"{name}, seen: {answer}")]
        for answer in wrong[name]["hidden"]:
            runs += [(answer, True, f"{name}, hidden"), (seen, True, f"{name}, hidden: {answer}"), (check, False, f"{name}, hidden: {answer}")]
        runs += [(solution, True, f"{name}, solution"), (seen, True, f"{name}, solution"), (check, True, f"{name}, solution")]
    run = new_notebook(cells=[new_code_cell(source) for source, *_ in runs], metadata=notebook.metadata)
    NotebookClient(run, timeout=300, allow_errors=True, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    astray = []
    for (source, good, what), cell in zip(runs, run.cells, strict=True):
        errors = [f"{output.ename}: {output.evalue}" for output in cell.outputs if output.output_type == "error"]
        if good is not None and good is bool(errors):
            astray.append(f"{what}\n{errors or 'passed'} at\n{source}")
    assert not astray, "\n\n".join(astray)


def test_students_see_neither_solutions_nor_hidden_tests(path, released):
    notebook, student = read_notebook(path), (released / path.name).read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" not in student and "HIDDEN TESTS" not in student
    for one in read_exercises(path, notebook):
        check = notebook.cells[one.check].source
        hidden = set(check.splitlines()) - set(without_hidden_tests(check).splitlines())
        assert not [line for line in hidden if len(line.strip()) > 20 and line.strip().replace('"', '\\"') in student]


@pytest.mark.parametrize("change, said", [
    (lambda nb: nb.cells[3].metadata.nbgrader.update(solution=False), "exercise-1, solution must be True"),
    (lambda nb: nb.cells[4].metadata.nbgrader.update(points=0), "check-1 gives 0 points"),
    (lambda nb: nb.cells[4].metadata.nbgrader.pop("points"), "check-1 gives None points"),
    (lambda nb: nb.cells[4].metadata.nbgrader.update(locked=False), "check-1, locked must be True"),
    (lambda nb: nb.cells[4].metadata.nbgrader.update(schema_version=2), "check-1, schema_version must be 3"),
    (lambda nb: nb.cells[5].metadata.nbgrader.update(grade_id="exercise-1"), "Two cells are called exercise-1"),
    (lambda nb: nb.cells[3].metadata.nbgrader.update(grade_id="cell-deadbeef"), "grade_id must be exercise-N or check-N"),
    (lambda nb: nb.cells[3].update(source="total = 1"), "exercise-1 needs its solution between"),
    (lambda nb: nb.cells[3].update(source="### BEGIN SOLUTION\ntotal = 1"), "exercise-1 needs its solution between"),
    (lambda nb: nb.cells[4].update(source="assert total, 'x'\nprint('checked')"), "check-1 needs hidden tests"),
    (lambda nb: nb.cells[4].update(source=nb.cells[4].source.replace("assert", "print(", 1)), "check-1 is no Python"),
    (lambda nb: nb.cells[4].update(source=nb.cells[4].source.replace(', "two times two"', "")), "has no message"),
    (lambda nb: nb.cells[4].update(source=nb.cells[4].source.rsplit("\n", 1)[0] + "\ndouble(2)"), "ends with a value"),
    (lambda nb: nb.cells.pop(4), "exercise-1 is not followed by its check"),
    (lambda nb: nb.cells.pop(3), "check-1 does not stand behind its answer"),
    (lambda nb: [nb.cells.pop(3), nb.cells.pop(3)], "numbered 2; count from 1"),
    (lambda nb: nb.cells[1].update(source="### BEGIN SOLUTION\n### END SOLUTION"), "is no cell of an exercise"),
])
def test_says_what_is_wrong_with_an_exercise(change, said, tmp_path):
    notebook = small_notebook()
    assert find_faults(notebook) == []
    change(notebook)
    nbformat.write(notebook, tmp_path / "01_small.ipynb")
    with pytest.raises(InputError, match="01_small.ipynb") as fault:
        read_exercises(tmp_path / "01_small.ipynb")
    assert said in str(fault.value)
    with pytest.raises(InputError, match="Nothing was released"):
        release(tmp_path / "release", tmp_path)
    assert not (tmp_path / "release").exists()
