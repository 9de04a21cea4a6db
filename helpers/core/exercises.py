"""The exercises at a notebook's end, in nbgrader's form: an answer cell, and right behind it the check cell that marks it.

    a notebook (.ipynb)  --read_exercises-->  [Exercise]      or one sentence for each fault in how they are written

An answer cell has the solution between `### BEGIN SOLUTION` and `### END SOLUTION`; the student's edition has nbgrader's stub in
that place. A check cell has asserts that students see and, between `### BEGIN HIDDEN TESTS` and `### END HIDDEN TESTS`, those
that they do not. Exercise 2 consists of the cells whose `grade_id` is `exercise-2` and `check-2`. CONTRIBUTING.md shows one.

A cell of the lesson that takes long and that no exercise needs carries the tag `skip-when-graded`: grading a class runs what the
marks depend on. A student who has changed such a cell has it run.
"""

from __future__ import annotations

import ast
import re
import symtable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.core.errors import InputError

SKIP_TAG = "skip-when-graded"
SOLUTION, HIDDEN = "SOLUTION", "HIDDEN TESTS"
ANSWER_FORM = {"schema_version": 3, "grade": False, "locked": False, "solution": True, "task": False}
CHECK_FORM = {"schema_version": 3, "grade": True, "locked": True, "solution": False, "task": False}


@dataclass(frozen=True)
class Exercise:
    """One exercise: its number, the places of its two cells among all cells of the notebook, and the points its check gives."""

    number: int
    answer: int
    check: int
    points: float


def grade_id(cell: NotebookNode) -> str | None:
    """The name that nbgrader knows a cell by, or None."""
    return form_of(cell).get("grade_id")


def form_of(cell: NotebookNode) -> dict:
    """A cell's nbgrader metadata; empty where it has none, or none that can be read."""
    form = cell.get("metadata", {}).get("nbgrader")
    return form if isinstance(form, dict) else {}


def read_notebook(path: Path | str) -> NotebookNode:
    """A notebook in format 4, checked against the format's schema. Raises InputError saying why a file is none."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there.") from error
    # nbformat lets through what its parsers meet in a damaged file (KeyError, AttributeError, …), so every error counts as damage here.
    except Exception as error:
        why = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputError(f"{path} is no notebook that can be read ({why[0][:120]}); save it again in JupyterLab.") from error
    return notebook


def read_exercises(path: Path | str, notebook: NotebookNode | None = None) -> list[Exercise]:
    """The exercises of the notebook at `path`, in order; none at all is no fault.

    Raises: InputError naming the notebook and everything in its exercises that nbgrader would stumble over or mark wrongly.
    """
    notebook = read_notebook(path) if notebook is None else notebook
    faults = find_faults(notebook)
    if faults:
        raise InputError(f"{Path(path).name}: " + " ".join(faults) + " CONTRIBUTING.md says how an exercise is written.")
    places = {grade_id(cell): place for place, cell in enumerate(notebook.cells) if grade_id(cell)}
    numbers = sorted(int(name.split("-")[1]) for name in places if name.startswith("check-"))
    return [Exercise(n, places[f"exercise-{n}"], places[f"check-{n}"], form_of(notebook.cells[places[f"check-{n}"]])["points"]) for n in numbers]


def find_faults(notebook: NotebookNode) -> list[str]:
    """One sentence for each fault in how a notebook's exercises are written."""
    faults, names = [], [grade_id(cell) for cell in notebook.cells]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        faults.append(f"Two cells are called {name}; the copy needs a number of its own.")
    for place, cell in enumerate(notebook.cells):
        name = names[place]
        if name is None:
            if "nbgrader" in cell.metadata:
                faults.append(f"Cell {place} has nbgrader metadata without a grade_id; name it exercise-N or check-N, or take the metadata away.")
            faults += [f"Cell {place} has a line {mark!r} and is no cell of an exercise." for mark in marks_of(cell.source)]
        elif not re.fullmatch(r"(exercise|check)-[1-9]\d*", name):
            faults.append(f"A cell is called {name}; its grade_id must be exercise-N or check-N.")
        elif cell.cell_type != "code":
            faults.append(f"{name} is a {cell.cell_type} cell; only code can be marked.")
        else:
            faults += _faults_of_answer(name, cell) if name.startswith("exercise") else _faults_of_check(name, cell)
            faults += _faults_of_pair(name, place, names)
    numbers = sorted(int(name.split("-")[1]) for name in names if re.fullmatch(r"check-[1-9]\d*", name or ""))
    if not faults and numbers != list(range(1, len(numbers) + 1)):
        faults.append(f"The exercises are numbered {', '.join(map(str, numbers))}; count from 1 without gaps.")
    return faults


def marks_of(source: str) -> list[str]:
    """The lines that begin or end a region for nbgrader, without their indentation."""
    return [line.strip() for line in source.splitlines() if re.search(rf"(BEGIN|END) ({SOLUTION}|{HIDDEN})", line)]


def without_hidden_tests(source: str) -> str:
    """What students see of a check."""
    return re.sub(rf"^[^\n]*BEGIN {HIDDEN}.*?END {HIDDEN}[^\n]*\n?", "", source, flags=re.DOTALL | re.MULTILINE)


def is_skipped(cell: NotebookNode) -> bool:
    """Whether a cell carries the tag that spares it when a class is graded."""
    return SKIP_TAG in cell.get("metadata", {}).get("tags", [])


def names_bound(source: str) -> set[str]:
    """The names that a cell gives a meaning to for the cells behind it: variables, functions, imports. None where it is no Python."""
    table = _symbols(source)
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()} if table else set()


def names_used(source: str) -> set[str]:
    """The names that a cell takes from outside of its functions; where it is no Python, every word of it."""
    table = _symbols(source)
    return _names_read(table) if table else set(re.findall(r"\w+", source))


def _symbols(source: str) -> symtable.SymbolTable | None:
    """What Python makes of a cell's names, without the lines that only IPython reads; None where it is no Python."""
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    try:
        return symtable.symtable(plain, "cell", "exec")
    except SyntaxError:
        return None


def _names_read(table: symtable.SymbolTable) -> set[str]:
    """The names that a table reads and that belong to the notebook, in its functions and comprehensions as well."""
    here = {symbol.get_name() for symbol in table.get_symbols()
            if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global())}
    return here.union(*(_names_read(child) for child in table.get_children()))


def _faults_of_answer(name: str, cell: NotebookNode) -> list[str]:
    faults = _faults_of_form(name, cell, ANSWER_FORM)
    if marks_of(cell.source) != [f"### BEGIN {SOLUTION}", f"### END {SOLUTION}"]:
        faults.append(f"{name} needs its solution between one line '### BEGIN {SOLUTION}' and one line '### END {SOLUTION}'.")
    return faults


def _faults_of_check(name: str, cell: NotebookNode) -> list[str]:
    faults = _faults_of_form(name, cell, CHECK_FORM)
    points = form_of(cell).get("points")
    if isinstance(points, bool) or not isinstance(points, (int, float)) or points <= 0:
        faults.append(f"{name} gives {points} points; give it a number above 0.")
    if marks_of(cell.source) != [f"### BEGIN {HIDDEN}", f"### END {HIDDEN}"]:
        return [*faults, f"{name} needs hidden tests between one line '### BEGIN {HIDDEN}' and one line '### END {HIDDEN}'."]
    seen, everything = (_asserts(source) for source in (without_hidden_tests(cell.source), cell.source))
    if seen is None or everything is None:
        return [*faults, f"{name} is no Python, with or without its hidden tests."]
    if not seen or len(everything) == len(seen):
        faults.append(f"{name} needs an assert that students see, and one among its hidden tests.")
    faults += [f"{name}: 'assert {ast.unparse(one.test)}' has no message; say what to look at." for one in seen if one.msg is None]
    # nbgrader takes a value that a check shows as its result (Out[…]) for the points that it is worth.
    if isinstance(ast.parse(cell.source).body[-1], ast.Expr) and "print(" not in cell.source.splitlines()[-1]:
        faults.append(f"{name} ends with a value; end it with print(…), or nbgrader takes the value for points.")
    return faults


def _faults_of_form(name: str, cell: NotebookNode, form: dict) -> list[str]:
    found = form_of(cell)
    wrong = [f"{key} must be {value!r}" for key, value in form.items() if found.get(key, False if key == "task" else None) != value]
    return [f"In the nbgrader metadata of {name}, {', '.join(wrong)}."] if wrong else []


def _faults_of_pair(name: str, place: int, names: list[str | None]) -> list[str]:
    kind, number = name.split("-")
    if kind == "exercise" and names[place + 1:place + 2] != [f"check-{number}"]:
        return [f"{name} is not followed by its check; the next cell must be check-{number}."]
    if kind == "check" and (place == 0 or names[place - 1] != f"exercise-{number}"):
        return [f"{name} does not stand behind its answer; the cell before it must be exercise-{number}."]
    return []


def _asserts(source: str) -> list[ast.Assert] | None:
    """The asserts of a cell, also those in loops; None where it is no Python."""
    try:
        return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    except SyntaxError:
        return None
