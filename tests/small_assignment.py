"""A notebook with two exercises, 1 and 2 points, and submissions of it."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.core.exercises import ANSWER_FORM, CHECK_FORM, SKIP_TAG

NAME = "01_small"
RIGHT = {1: "def double(x):\n    return 2 * x", 2: "total = 6"}


def exercise(number: int, answer: str, check: str, points: float) -> list:
    """The two cells of an exercise."""
    return [new_code_cell(answer, id=f"exercise-{number}", metadata={"nbgrader": {**ANSWER_FORM, "grade_id": f"exercise-{number}"}}),
            new_code_cell(check, id=f"check-{number}", metadata={"nbgrader": {**CHECK_FORM, "grade_id": f"check-{number}", "points": points}})]


def small_notebook():
    """The course's notebook: a cell of the lesson, one that grading skips, and two exercises."""
    return new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}, cells=[
        new_markdown_cell("# A small lesson"),
        new_code_cell("base = 2\nprint(base)", execution_count=1, outputs=[nbformat.v4.new_output("stream", text="2\n")]),
        new_code_cell("slowly = 2\nprint('slow')", metadata={"tags": [SKIP_TAG]}),
        *exercise(1, "def double(x):\n    ### BEGIN SOLUTION\n    return base * x\n    ### END SOLUTION\n\n\nprint(double(1))",
                  'assert double(2) == 4, "two times two"\n### BEGIN HIDDEN TESTS\nassert double(5) == 10\n### END HIDDEN TESTS\nprint("checked: 2")', 1),
        *exercise(2, "### BEGIN SOLUTION\ntotal = double(3)\n### END SOLUTION\nprint(total)",
                  'assert total > 0, "more"\n### BEGIN HIDDEN TESTS\nassert total == 6\n### END HIDDEN TESTS\nprint("checked:", total)', 2),
    ])


def hand_in(released: Path, folder: Path, student: str, answers: dict[int, str], before: str = "", change=None) -> Path:
    """Fill in answers, a cell of the student's own before them, and any other change; write it where `grade` looks for it."""
    notebook = nbformat.read(released, as_version=4)
    for cell in notebook.cells:
        number = cell.metadata.get("nbgrader", {}).get("grade_id", "").removeprefix("exercise-")
        if number.isdigit() and int(number) in answers:
            cell.source = answers[int(number)]
    if before:
        notebook.cells.insert(1, new_code_cell(before))
    if change:
        change(notebook)
    path = folder / student / released.name
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    return path
