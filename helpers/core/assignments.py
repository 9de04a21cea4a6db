"""The student's edition of the notebooks, and the nbgrader course that both releasing and grading go through.

    notebooks/NN_name.ipynb  --release-->  release/NN_name.ipynb      solutions and hidden tests cut, checks and lesson kept
    docs/glossary.md, course_map.md  --->  release/docs/              what the notebooks refer to, where JupyterLab shows it

nbgrader (nbgrader.readthedocs.io) does the converting. It works in a course folder with a database, which here is a temporary one:
each notebook is an assignment of its own, so that a fault in one stops no other.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearSolutions,
    ComputeChecksums,
    IgnorePattern,
    LockCells,
    NbGraderPreprocessor,
    SaveAutoGrades,
    SaveCells,
)
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from helpers.core.errors import InputError
from helpers.core.exercises import find_faults, form_of, read_notebook
from helpers.core.paths import NOTEBOOKS, ROOT
from helpers.core.submission_run import SubmissionRun

DOCUMENTS = ("glossary.md", "course_map.md", "zh/course_map.md")  # of docs/: the notebooks name them


class ClearExerciseOutput(NbGraderPreprocessor):
    """Takes away what the cells of exercises show; nbgrader's own would take the lesson's figures as well."""

    def preprocess_cell(self, cell, resources, index):
        """One cell, in place."""
        if form_of(cell) and cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        return cell, resources


# nbgrader's own order. The checks are saved to the database with their hidden tests before these are cut; the checksums, which
# tell a changed check when it comes back, are computed once for each of the two texts.
TO_RELEASE = [LockCells, ClearSolutions, ClearExerciseOutput, CheckCellMetadata, ComputeChecksums, SaveCells, ClearHiddenTests, ComputeChecksums,
              CheckCellMetadata]
TO_MARK = [SubmissionRun, IgnorePattern, SaveAutoGrades, CheckCellMetadata]


class Course:
    """A temporary nbgrader course; a context manager. options: of `SubmissionRun`, as {"cell_seconds": 60}."""

    def __init__(self, **options):
        self._folder = TemporaryDirectory(prefix="captionlab-course-")
        self.root = Path(self._folder.name).resolve()
        self.faults: list[str] = []
        config = Config()
        config.CourseDirectory.root = str(self.root)
        config.GenerateAssignment.preprocessors = TO_RELEASE
        config.Autograde.autograde_preprocessors = TO_MARK
        config.Autograde.force = True       # a notebook may be marked twice
        config.SubmissionRun.update(options)
        # nbgrader gives 0 points to a check that writes to stderr, where progress bars and warnings go: a right answer may do that.
        config.IgnorePattern.enabled, config.IgnorePattern.pattern = True, r"(?s).*"
        self._config = config
        self._log = logging.Logger("nbgrader", logging.ERROR)
        self._log.addHandler(_Listener(self.faults))

    def __enter__(self) -> Course:
        return self

    def __exit__(self, *_) -> None:
        self._folder.cleanup()

    @property
    def database(self) -> str:
        """The gradebook's address, as `nbgrader.api.Gradebook` takes it."""
        return f"sqlite:///{self.root / 'gradebook.db'}"

    def add(self, notebook: Path) -> Path:
        """Make a notebook an assignment, once; returns its student's edition, within the course folder.

        Raises: InputError with nbgrader's reason when it cannot.
        """
        source = self.root / "source" / notebook.stem / notebook.name
        if not source.exists():
            source.parent.mkdir(parents=True)
            shutil.copyfile(notebook, source)
            self._start(GenerateAssignment, notebook.stem, "*")
        return self.root / "release" / notebook.stem / notebook.name

    def place_of(self, student: str, name: str) -> Path:
        """Where `mark` looks for a student's notebook; the folder is made."""
        path = self.root / "submitted" / student / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def mark(self, student: str, name: str) -> tuple[dict[str, float], Path]:
        """Run the notebook at `place_of` and mark it: {"check-1": points, …}, and the notebook as it ran, with its outputs.

        Raises: InputError with nbgrader's reason when there are no marks at all.
        """
        self._start(Autograde, name, student)
        with Gradebook(self.database) as gradebook:
            grades = gradebook.find_submission_notebook(name, name, student).grades
            marks = {grade.name: float(grade.auto_score or 0) for grade in grades}
        return marks, self.root / "autograded" / student / name / f"{name}.ipynb"

    def _start(self, converter: type, name: str, student: str) -> None:
        """Run one of nbgrader's converters on one assignment of one student."""
        self.faults.clear()
        directory = CourseDirectory(config=self._config, log=self._log, assignment_id=name, student_id=student)
        try:
            with _programs_beside_python(), warnings.catch_warnings():
                warnings.simplefilter("ignore", SAWarning)      # of nbgrader's queries, which SQLAlchemy 2 reads as meant
                converter(coursedir=directory, config=self._config, log=self._log).start()
        except NbGraderException as error:
            why = next((line for fault in self.faults for line in reversed(fault.strip().splitlines()) if line.strip()), str(error))
            raise InputError(f"nbgrader cannot convert {name}: {why}") from error


@contextlib.contextmanager
def _programs_beside_python() -> Iterator[None]:
    """nbgrader starts `alembic` by its name; where the environment is not activated, that is on no path."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


class _Listener(logging.Handler):
    """Keeps what nbgrader logs as errors: tracebacks, of which the last line is the reason."""

    def __init__(self, heard: list[str]):
        super().__init__(logging.ERROR)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        if "Traceback" in record.getMessage():
            self.heard.append(record.getMessage())


def release(out: Path | str, notebooks: Path | str = NOTEBOOKS) -> list[Path]:
    """Write the student's edition of every notebook of a folder into `out`, and beside it in docs/ what they refer to; returns the notebooks.

    Raises: InputError naming every fault of every exercise, before anything is written.
    """
    out, notebooks = Path(out), Path(notebooks)
    paths = sorted(notebooks.glob("*.ipynb"))
    if not paths:
        raise InputError(f"{notebooks} has no notebooks in it.")
    if out.resolve() == notebooks.resolve():
        raise InputError(f"{out} is where the solutions are; release into another folder.")
    faults = {path.name: find_faults(read_notebook(path)) for path in paths}
    if any(faults.values()):
        raise InputError("\n".join(["Nothing was released, since exercises are not written as they must be (CONTRIBUTING.md says how):",
                                    *(f"{name}: {fault}" for name, found in faults.items() for fault in found)]))
    with Course() as course:
        made = [course.add(path) for path in paths]
        (out / "docs" / "zh").mkdir(parents=True, exist_ok=True)
        for name in DOCUMENTS:
            text = (ROOT / "docs" / name).read_text(encoding="utf-8")
            (out / "docs" / name).write_text(text.replace("../notebooks/", "../"), encoding="utf-8")
        return [Path(shutil.copyfile(path, out / path.name)) for path in made]
