"""The students' edition, and a class that is graded: right, half-right, broken and endless submissions get the marks they should."""

import csv
import json
import os
import re
import shutil

import nbformat
import pytest

from helpers import cli
from helpers.core.assignments import Course, release
from helpers.core.errors import InputError
from helpers.core.exercises import SKIP_TAG, grade_id, is_skipped, names_used, read_notebook
from helpers.core.paths import NOTEBOOKS
from helpers.core.submission_run import clean_environment
from helpers.core.submissions import describe_run, grade_submissions, put_right, read_marks, takes_from_skipped
from tests.small_assignment import NAME, RIGHT, hand_in, small_notebook

WIDGETS = """def double(x):
    import sys, time, warnings
    import ipywidgets
    from IPython.display import display
    from tqdm import tqdm
    from tqdm.auto import tqdm as in_a_notebook
    warnings.warn("on the way")
    shown = ipywidgets.Output()
    display(shown, ipywidgets.IntSlider())
    with shown:
        print("inside of a widget")
        for _ in in_a_notebook(range(300), desc="as a widget"):
            pass
    for _ in tqdm(range(300), desc="as text", file=sys.stderr, mininterval=0):
        time.sleep(0.005)
    return 2 * x"""
STUBBORN = "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        print('no')"
LEFT_BEHIND = "import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)\n" + RIGHT[1]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with one notebook of the course, and its students' edition."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "notebooks").mkdir()
    nbformat.write(small_notebook(), folder / "notebooks" / f"{NAME}.ipynb")
    release(folder / "release", folder / "notebooks")
    return folder


@pytest.fixture(scope="module")
def graded(course):
    """A class of that course: {student: row}, and the folder with the submissions, the marks and what was kept."""
    folder, edition = course / "class", course / "release" / f"{NAME}.ipynb"
    hand_in(edition, folder, "right", RIGHT)
    hand_in(edition, folder, "half", {1: RIGHT[1], 2: "total = 5"}, before="import os\nprint(dict(os.environ))")
    hand_in(edition, folder, "empty", {})
    hand_in(edition, folder, "syntax", {1: "def double(x:\n    return 2 * x", 2: RIGHT[2]})
    hand_in(edition, folder, "killed", {1: RIGHT[1], 2: "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"})
    hand_in(edition, folder, "widgets", {1: WIDGETS, 2: RIGHT[2]})
    hand_in(edition, folder, "李雷 [2]", {1: LEFT_BEHIND, 2: "total = slowly * 3"})
    hand_in(edition, folder, "lenient", {1: "def double(x):\n    return 4", 2: "total = 1"}, change=give_oneself_points)
    hand_in(edition, folder, "torn", RIGHT).write_text('{"cells": [', encoding="utf-8")
    hand_in(edition, folder, "misnamed", RIGHT).rename(folder / "misnamed" / "my homework.ipynb")
    os.environ["DASHSCOPE_API_KEY"] = "sk-of-the-teacher"
    try:
        rows = grade_submissions(folder, notebooks=course / "notebooks", timeout=120, keep=course / "kept", say=lambda line: None)
    finally:
        del os.environ["DASHSCOPE_API_KEY"]
    return {(row.student, row.notebook): row for row in rows}, course


def give_oneself_points(notebook):
    """What a student can write into a notebook's file to get points: checks that are skipped, deleted, emptied, declared an answer."""
    checks = [cell for cell in notebook.cells if (grade_id(cell) or "").startswith("check-")]
    checks[0].metadata["tags"] = [SKIP_TAG, "skip-execution"]
    checks[0].metadata.nbgrader.update(points=100, solution=True)
    notebook.cells.remove(checks[1])


def test_students_edition_keeps_the_lesson_and_cuts_the_rest(course):
    before, after = small_notebook(), read_notebook(course / "release" / f"{NAME}.ipynb")
    assert [cell.source for cell in after.cells[:3]] == [cell.source for cell in before.cells[:3]]
    assert after.cells[1].outputs == before.cells[1].outputs
    answer, check = after.cells[3:5]
    assert answer.source == "def double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n\n\nprint(double(1))"
    assert check.source == 'assert double(2) == 4, "two times two"\nprint("checked: 2")'
    assert check.metadata.editable is False and check.metadata.deletable is False
    assert not any(cell.outputs for cell in after.cells[3:])


def test_releases_what_the_notebooks_refer_to(course):
    """Students see the release's folder alone: `docs/glossary.md` is to be there, and its links are to lead somewhere."""
    out = course / "release"
    for name in ("glossary.md", "course_map.md", "zh/course_map.md"):
        file = out / "docs" / name
        links = {(file.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8"))}
        assert name == "glossary.md" or {out / "docs" / "glossary.md", out / "00_environment.ipynb"} < links


def test_does_not_release_over_the_solutions(course):
    with pytest.raises(InputError, match="where the solutions are"):
        release(course / "notebooks", course / "notebooks")
    with pytest.raises(InputError, match="no notebooks"):
        release(course / "elsewhere", course / "release" / "nothing")


@pytest.mark.parametrize("student, points, status", [
    ("right", (1, 2), "graded"),
    ("half", (1, 0), "graded"),
    ("empty", (0, 0), "graded; exercise-1 is not answered; exercise-2 is not answered"),
    ("syntax", (0, 2), "graded; exercise-1 has a SyntaxError"),
    ("killed", (1, 0), "broken: the kernel died in exercise-2; from check-2 on nothing ran"),
    ("widgets", (1, 2), "graded"),
    ("李雷 [2]", (1, 2), "graded"),
    ("lenient", (0, 0), "graded"),
])
def test_marks(graded, student, points, status):
    row = graded[0][student, NAME]
    assert (row.points, row.of, row.status) == (points, 3, status)


def test_what_cannot_be_run_is_named(graded):
    rows, course = graded
    assert rows["torn", NAME].status.startswith("broken: ") and "torn/01_small.ipynb is no notebook" in rows["torn", NAME].status
    assert rows["misnamed", NAME].status == "missing"
    assert rows["misnamed", "my homework"].status == "not graded: the course has no notebook of this name with exercises"


def test_marks_are_a_table(graded):
    rows, course = graded
    with (course / "class" / "marks.csv").open(encoding="utf-8-sig", newline="") as file:
        table = {(line["student"], line["notebook"]): line for line in csv.DictReader(file)}
    assert table.keys() == rows.keys()
    line = table["half", NAME]
    assert [line[column] for column in ("points", "of", "exercise_1", "exercise_2", "status")] == ["1", "3", "1", "0", "graded"]
    assert (table["torn", NAME]["points"], table["torn", NAME]["exercise_1"]) == ("0", "")


def test_graded_notebooks_show_what_ran(graded):
    kept = {path.parent.name: read_notebook(path) for path in (graded[1] / "kept").glob("*/*.ipynb")}
    assert set(kept) == {"right", "half", "empty", "syntax", "killed", "widgets", "李雷 [2]", "lenient"}
    slow = {student: next(cell for cell in notebook.cells if "slowly =" in cell.source) for student, notebook in kept.items()}
    assert not slow["right"].outputs and slow["李雷 [2]"].outputs, "the slow cell runs only for who uses what it makes"
    assert [cell.outputs[0].ename for cell in kept["half"].cells if cell.get("outputs") and cell.outputs[0].output_type == "error"] == ["AssertionError"]
    shown = json.dumps([kept["widgets"].metadata, [cell.outputs for cell in kept["widgets"].cells if cell.cell_type == "code"]])
    assert "inside of a widget" in shown and "IntSliderModel" in shown and "as text" not in shown


def test_processes_that_a_submission_left_behind_are_ended(graded):
    notebook = read_notebook(graded[1] / "kept" / "李雷 [2]" / f"{NAME}.ipynb")
    left = int(next(cell for cell in notebook.cells if grade_id(cell) == "exercise-1").outputs[0].text.split()[0])
    assert not os.path.exists(f"/proc/{left}") or "Z" in open(f"/proc/{left}/stat").read().split()[2]


def test_same_command_again_runs_only_what_is_new(graded, monkeypatch):
    rows, course = graded
    folder = course / "again"
    for student in ("right", "half"):
        shutil.copytree(course / "class" / student, folder / student)
    shutil.copyfile(course / "class" / "marks.csv", folder / "marks.csv")
    monkeypatch.setattr("helpers.core.assignments.Course.mark", lambda *_: pytest.fail("this was graded already"))
    again = grade_submissions(folder, notebooks=course / "notebooks", say=lambda line: None)
    assert again == [rows["half", NAME], rows["right", NAME]]
    assert read_marks(folder / "marks.csv").keys() == {("half", NAME), ("right", NAME)}


def test_what_does_not_end_is_ended(course, tmp_path, monkeypatch):
    runs, mark = [], Course.mark
    monkeypatch.setattr(Course, "mark", lambda self, student, name: runs.append(student) or mark(self, student, name))
    edition, folder = course / "release" / f"{NAME}.ipynb", tmp_path / "class"
    hand_in(edition, folder, "endless", {1: "while True:\n    pass", 2: RIGHT[2]})
    hand_in(edition, folder, "stubborn", {1: RIGHT[1], 2: STUBBORN})
    hand_in(edition, folder, "talkative", {1: "while True:\n    print('talk' * 100)", 2: RIGHT[2]})
    rows = grade_submissions(folder, tmp_path / "marks.csv", course / "notebooks", timeout=4, grace=4, say=lambda line: None)
    assert [(row.points, row.status) for row in rows] == [
        ((0, 2), "timed out: exercise-1 (stopped after 4 s)"),
        ((1, 0), "timed out: exercise-2 (stopped after 4 s); from check-2 on nothing ran"),
        ((0, 2), "timed out: exercise-1 (stopped after 4 s)")]
    assert runs == ["s0", "s1", "s2"], "a loop was waited for twice"


def test_a_notebook_has_an_end_even_if_each_cell_has(course, tmp_path):
    hand_in(course / "release" / f"{NAME}.ipynb", tmp_path / "class", "slow", RIGHT, before="import time\ntime.sleep(20)")
    row, = grade_submissions(tmp_path / "class", notebooks=course / "notebooks", timeout=60, total_timeout=2, say=lambda line: None)
    assert row.points == (0, 0)
    assert row.status == "timed out: code cell 1 ('import time') (stopped after 2 s); from code cell 2 ('base = 2') on nothing ran"


def test_a_real_notebook_is_marked(tmp_path, capsys):
    """The cheapest one: the course's own solutions get all points, and the students' edition none."""
    (tmp_path / "class" / "solved").mkdir(parents=True)
    shutil.copyfile(NOTEBOOKS / "05_metrics.ipynb", tmp_path / "class" / "solved" / "05_metrics.ipynb")
    release(tmp_path / "class" / "unsolved", tmp_path / "class" / "solved")
    with pytest.raises(SystemExit) as end:
        cli.app(["grade", "--submissions", str(tmp_path / "class"), "--output", str(tmp_path / "marks.csv")])
    assert not end.value.code, capsys.readouterr()
    rows = read_marks(tmp_path / "marks.csv")
    assert (rows["solved", "05_metrics"].total, rows["solved", "05_metrics"].status) == (8, "graded")
    assert rows["unsolved", "05_metrics"].total == 0 and "exercise-1 is not answered" in rows["unsolved", "05_metrics"].status


def test_submissions_run_without_the_graders_keys(monkeypatch, tmp_path):
    secrets = {"DASHSCOPE_API_KEY": "sk-1", "DASHSCOPE_HTTP_BASE_URL": "https://example.org", "HF_TOKEN": "t", "CAPTIONLAB_CHAT_TOKEN": "t",
               "MY_PASSWORD": "p", "AWS_SECRET_ACCESS_KEY": "s", "SSH_AUTH_SOCK": "/s"}
    for name, value in {**secrets, "CAPTIONLAB_PROFILE": "lab", "LANG": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    environment = clean_environment(tmp_path)
    assert not secrets.keys() & environment.keys()
    assert environment["CAPTIONLAB_PROFILE"] == "tiny" and environment["LANG"] == "C.UTF-8" and environment["TMPDIR"] == str(tmp_path)


def test_no_submission_saw_the_key(graded):
    # The class of the fixture was graded with a key in the environment, and this student prints what there is.
    notebook = read_notebook(graded[1] / "kept" / "half" / f"{NAME}.ipynb")
    assert "PATH" in notebook.cells[1].outputs[0].text and "DASHSCOPE" not in notebook.cells[1].outputs[0].text


def test_folders_without_submissions_are_named(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        grade_submissions(tmp_path / "nowhere")
    (tmp_path / "class" / "anna").mkdir(parents=True)
    with pytest.raises(InputError, match="class/STUDENT/NN_name.ipynb"):
        grade_submissions(tmp_path / "class")
    (tmp_path / "marks.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="no table of marks"):
        read_marks(tmp_path / "marks.csv")


def test_a_submission_is_put_right_before_it_is_run():
    original, submission = small_notebook(), small_notebook()
    give_oneself_points(submission)
    submission.cells[2].source = "slowly = 3"
    submission.cells[3].metadata.nbgrader["grade_id"] = "exercise-7"
    right = put_right(submission, original)
    assert [grade_id(cell) for cell in right.cells] == [None, None, None, None, "check-1", "exercise-2", "check-2"]
    assert right.cells[4].metadata == original.cells[4].metadata and right.cells[6].source == original.cells[6].source
    assert not any(map(is_skipped, right.cells)), "the student has changed the cell"
    assert [is_skipped(cell) for cell in put_right(original, original).cells] == [False, False, True, False, False, False, False]


@pytest.mark.parametrize("answer, needs", [
    ("total = slowly", True), ("f = lambda: slowly + 1", True), ("total = [x for x in range(slowly)]", True), ("total = !ls {slowly}", True),
    ("total = 6", False), ("slowly = 1\ntotal = slowly", False), ("def f(slowly):\n    return slowly", False), ("x.slowly = 1", False),
])
def test_knows_whether_an_answer_needs_a_skipped_cell(answer, needs):
    submission = small_notebook()
    submission.cells[5].source = answer
    assert takes_from_skipped(submission, small_notebook()) is needs


def test_names_used_are_those_of_the_notebook():
    assert names_used("%time\nimport a\nb = a.c(d)\ndef e(f):\n    g = f\n    return g + h") == {"a", "d", "h"}


def test_a_status_names_the_first_cells_that_failed():
    notebook = small_notebook()
    error = nbformat.v4.new_output("error", ename="KeyError", evalue="'x'", traceback=[])
    for cell in notebook.cells[1:4]:
        cell.outputs = [error]
    assert describe_run(notebook) == "graded; code cell 1 ('base = 2') has a KeyError; code cell 2 ('slowly = 2') has a KeyError; exercise-1 has a KeyError"
