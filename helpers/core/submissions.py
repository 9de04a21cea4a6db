"""Marks a class: runs each student's notebook and writes a table of points.

    DIR/STUDENT/NN_name.ipynb  --grade_submissions-->  marks.csv: a row for each student and notebook

A row has the points, of how many, the points of each exercise, and a sentence on what happened (`graded`, `missing`, `broken: why`,
`timed out: which cell`). One submission never stops another. The table is written after each row, and what it says was graded is
not graded again while neither the submission nor the course's notebook has changed: a stopped run continues.

Students can change everything in what they hand in, so it is put right first (`put_right`): checks come from the course's own
notebook, with their hidden tests, also where they were deleted; which cells give points and which are skipped, too. Skipped are the
lesson's cells that the course tags so and the student left as they were, unless the answers use what these cells make.
**Grading runs students' code**: see `submission_run`.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import compute_checksum

from helpers.core.assignments import Course
from helpers.core.errors import InputError
from helpers.core.exercises import SKIP_TAG, Exercise, form_of, grade_id, is_skipped, names_bound, names_used, read_exercises, read_notebook
from helpers.core.paths import NOTEBOOKS
from helpers.core.submission_run import DIED, NOT_RUN, TIMED_OUT

MARKS = "marks.csv"
GRADED = "graded"
MOST_NAMED = 3      # cells that a status names
OWN_FAULTS = {"AssertionError", "NotImplementedError", "NameError", "SyntaxError", "IndentationError", "KeyboardInterrupt", TIMED_OUT, DIED, NOT_RUN}


@dataclass(frozen=True)
class Row:
    """One student and notebook. points: a number for each exercise; none for what was not run.  fingerprint: of what was graded."""

    student: str
    notebook: str
    of: float
    points: tuple[float, ...] = ()
    status: str = "missing"
    fingerprint: str = ""

    @property
    def total(self) -> float:
        """The points of all exercises."""
        return sum(self.points)


@dataclass(frozen=True)
class Original:
    """A notebook of the course, with its solutions."""

    path: Path
    notebook: NotebookNode = field(repr=False)
    exercises: list[Exercise]

    @property
    def points(self) -> float:
        """Of how many."""
        return sum(exercise.points for exercise in self.exercises)


def grade_submissions(submissions: Path | str, output: Path | str | None = None, notebooks: Path | str = NOTEBOOKS, *, timeout: int = 300,
                      total_timeout: int | None = None, grace: int = 15, keep: Path | str | None = None,
                      say: Callable[[str], None] = print) -> list[Row]:
    """Grade a folder of students' folders; returns the rows and writes them to `output` (None: marks.csv in `submissions`).

    notebooks: the course's, with solutions.  timeout, total_timeout: seconds for one cell, and for one notebook (None: four times as
    much).  grace: seconds for a stopped kernel to answer again.  keep: a folder for the graded notebooks, with what each cell showed
    and the hidden tests.  say: told of each row.
    A student without a notebook that others have handed in has a row that says `missing`.
    Raises: InputError for a folder without students, and for exercises of the course that are not written as they must be.
    """
    submissions, notebooks = Path(submissions), Path(notebooks)
    output = submissions / MARKS if output is None else Path(output)
    handed_in = find_submissions(submissions)
    originals = _originals(notebooks, {path.stem for paths in handed_in.values() for path in paths})
    earlier = read_marks(output)
    rows: list[Row] = []
    with Course(cell_seconds=timeout, total_seconds=total_timeout or 4 * timeout, grace=grace) as course:
        for number, (student, paths) in enumerate(handed_in.items()):
            found = {path.stem: path for path in paths}
            for name in sorted({*originals, *found}):
                row = _grade(course, f"s{number}", student, originals.get(name), found.get(name, name), earlier, keep)
                rows.append(row)
                write_marks(output, rows, earlier.values())
                say(f"{row.student}  {row.notebook}  {row.total:g} of {row.of:g}  {row.status}")
    write_marks(output, rows)
    return rows


def find_submissions(folder: Path) -> dict[str, list[Path]]:
    """{student: notebooks} of a folder of students' folders. Raises InputError where there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds a folder for each student.")
    students = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {student.name: sorted(path for path in student.glob("*.ipynb") if path.is_file()) for student in students}
    if not any(found.values()):
        raise InputError(f"{folder} has no notebooks in it; they must lie as {folder.name}/STUDENT/NN_name.ipynb.")
    return found


def put_right(submission: NotebookNode, original: NotebookNode, skip: bool = True) -> NotebookNode:
    """A submission as nbgrader may run it; a new notebook.

    What marks cells for nbgrader is taken from the course's notebook, by the cells' names. A check that is gone comes back behind its
    answer, or at the end. No tag of a student's counts; the course's for skipping counts where the lesson's cell is unchanged.
    skip: False runs every cell.
    """
    result = copy.deepcopy(submission)
    known = {grade_id(cell): cell for cell in original.cells if grade_id(cell)}
    skipped = {cell.source.strip() for cell in original.cells if skip and is_skipped(cell)}
    for cell in result.cells:
        name = grade_id(cell)
        cell.metadata.pop("nbgrader", None)
        cell.metadata.pop("tags", None)
        if name in known:
            cell.metadata["nbgrader"] = copy.deepcopy(known[name].metadata["nbgrader"])
        elif cell.cell_type == "code" and cell.source.strip() in skipped:
            cell.metadata["tags"] = [SKIP_TAG]
    for name, cell in known.items():
        names = [grade_id(other) for other in result.cells]
        if name.startswith("check-") and name not in names:
            answer = name.replace("check", "exercise")
            place = len(names) - names[::-1].index(answer) if answer in names else len(names)
            again = copy.deepcopy(cell)
            again["id"] = f"{name}-again"
            if result.nbformat_minor < 5:
                del again["id"]
            result.cells.insert(place, again)
    return result


def takes_from_skipped(submission: NotebookNode, original: NotebookNode) -> bool:
    """Whether a student's own cells use a name that a cell which would be skipped gives a meaning to."""
    lesson = {cell.source.strip() for cell in original.cells}
    own = [cell.source for cell in submission.cells if cell.cell_type == "code" and cell.source.strip() not in lesson
           and not (grade_id(cell) or "").startswith("check-")]
    skipped = set().union(*(names_bound(cell.source) for cell in original.cells if is_skipped(cell)))
    return bool((set().union(*map(names_used, own)) - set().union(*map(names_bound, own))) & skipped)


def may_miss_skipped(ran: NotebookNode) -> bool:
    """Whether an error in a notebook that was run without some cells may come from that: a file, say, that only they write.

    Failed asserts, stubs, wrong grammar and loops that were interrupted are a student's own, and so are names: of these
    `takes_from_skipped` knows before.
    """
    return any(output.output_type == "error" and output.ename not in OWN_FAULTS
               for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs)


def describe_run(notebook: NotebookNode) -> str:
    """What happened to a notebook that was run, in a sentence: `graded`, or what ended early, or which cells stopped with an error."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    errors = [(_name_of(cell, number), output) for number, cell in enumerate(cells, 1) for output in cell.outputs
              if output.output_type == "error"]
    late = [f"{where} ({error.evalue})" for where, error in errors if error.ename == TIMED_OUT]
    dead = [where for where, error in errors if error.ename == DIED]
    unrun = [(where, error.evalue) for where, error in errors if error.ename == NOT_RUN]
    rest = f"; from {unrun[0][0]} on nothing ran" if unrun else ""
    if late or unrun and not dead:
        reason = ", ".join(late[:MOST_NAMED]) if late else unrun[0][1]
        return f"timed out: {reason}{rest}"
    if dead:
        return f"broken: the kernel died in {dead[0]}{rest}"
    blank = [name for name in map(grade_id, cells) if name and name.startswith("exercise") and _is_stub(cells, name)]
    stopped = [f"{name} is not answered" for name in blank]
    stopped += [f"{where} has a {error.ename}" for where, error in errors if not where.startswith("check") and where not in blank]
    return "; ".join([GRADED, *stopped[:MOST_NAMED], *(["and more"] if len(stopped) > MOST_NAMED else [])])


def read_marks(path: Path) -> dict[tuple[str, str], Row]:
    """The rows of a marks.csv that `write_marks` wrote, by student and notebook; none where there is no such file.

    Raises: InputError for a file that something else wrote.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [Row(line["student"], line["notebook"], float(line["of"]),
                        tuple(float(value) for key, value in line.items() if key.startswith("exercise_") and value != ""),
                        line["status"], line["fingerprint"]) for line in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(f"{path} is there and no table of marks; move it, or name another file for the marks.") from error
    return {(row.student, row.notebook): row for row in rows}


def write_marks(path: Path, rows: Iterable[Row], earlier: Iterable[Row] = ()) -> None:
    """Write the rows, and of the `earlier` ones those that no new one replaces; whole or not at all."""
    table = {(row.student, row.notebook): row for row in [*earlier, *rows]}
    exercises = max((len(row.points) for row in table.values()), default=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8-sig", newline="") as file:     # with its mark at the start, Excel reads every alphabet
        writer = csv.writer(file)
        writer.writerow(["student", "notebook", "points", "of", *(f"exercise_{n}" for n in range(1, exercises + 1)), "status", "fingerprint"])
        for row in sorted(table.values(), key=lambda row: (row.student, row.notebook)):
            points = [f"{value:g}" for value in row.points]
            writer.writerow([row.student, row.notebook, f"{row.total:g}", f"{row.of:g}", *points, *[""] * (exercises - len(points)),
                             row.status, row.fingerprint])
    os.replace(draft, path)


def _originals(folder: Path, names: set[str]) -> dict[str, Original]:
    """The course's notebooks of these names that have exercises."""
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        if path.stem in names:
            notebook = read_notebook(path)
            exercises = read_exercises(path, notebook)
            if exercises:
                found[path.stem] = Original(path, notebook, exercises)
    return found


def _grade(course: Course, key: str, student: str, original: Original | None, submitted: Path | str, earlier: dict, keep: Path | str | None) -> Row:
    """The row of one student and notebook. submitted: the notebook, or the name of one that is missing."""
    if original is None:
        return Row(student, submitted.stem, 0, status="not graded: the course has no notebook of this name with exercises")
    name, of = original.path.stem, original.points
    if not isinstance(submitted, Path):
        return Row(student, name, of)
    fingerprint = hashlib.sha256(submitted.read_bytes() + original.path.read_bytes()).hexdigest()[:16]
    before = earlier.get((student, name))
    if before and before.fingerprint == fingerprint and before.status.startswith(GRADED):
        return before
    course.add(original.path)
    try:
        submission = read_notebook(submitted)
        skip = any(map(is_skipped, original.notebook.cells)) and not takes_from_skipped(submission, original.notebook)
        nbformat.write(put_right(submission, original.notebook, skip), course.place_of(key, name))
        marks, ran = course.mark(key, name)
        if skip and may_miss_skipped(nbformat.read(ran, as_version=4)):
            nbformat.write(put_right(submission, original.notebook, skip=False), course.place_of(key, name))
            marks, ran = course.mark(key, name)
    except InputError as error:
        return Row(student, name, of, status=f"broken: {error}", fingerprint=fingerprint)
    if keep is not None:
        kept = Path(keep) / student / f"{name}.ipynb"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.unlink(missing_ok=True)    # nbgrader's are read-only
        shutil.copyfile(ran, kept)
    points = tuple(marks[f"check-{exercise.number}"] for exercise in original.exercises)
    return Row(student, name, of, points, describe_run(nbformat.read(ran, as_version=4)), fingerprint)


def _is_stub(cells: list[NotebookNode], name: str) -> bool:
    """Whether an answer is still as it was released: nbgrader has put that text's checksum beside it."""
    cell = next(cell for cell in cells if grade_id(cell) == name)
    return form_of(cell).get("checksum") == compute_checksum(cell)


def _name_of(cell: NotebookNode, number: int) -> str:
    """How a status names a code cell: as its exercise, or by its place among the code cells and its first line."""
    name = form_of(cell).get("grade_id")
    if name:
        return name
    first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    return f"code cell {number} ({first[:40]!r})"
