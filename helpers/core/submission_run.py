"""Runs a submitted notebook for nbgrader, so that nothing in it stops the grader and what did run keeps its marks.

    a notebook without outputs  --SubmissionRun-->  the same with outputs; a cell that did not end has an error among them

**This executes students' code as the user who grades.** It can read that user's files and the network. Here it is only kept from
what it would meet by accident: it runs without keys and tokens in its environment, on the tiny profile, so that no run of forty
notebooks asks a paid service, and in a folder of its own that is deleted afterwards. Whoever does not trust the code grades in a
container, or as a user who owns nothing else.

What stops other graders, and what happens here: a cell without an end is interrupted after `cell_seconds`; a kernel that does not
react to that within `grace` seconds is killed; the whole notebook has `total_seconds`; a kernel that dies leaves the rest of the
cells as not run. A cell that shows without end is cut at OUTPUT_LIMIT. Messages that come late (a widget's, a progress bar's) are
waited for and cost no marks. Every process that the notebook started and left behind is ended with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_output
from nbgrader.preprocessors import Execute
from traitlets import Integer

from helpers.core.exercises import SKIP_TAG, is_skipped

OUTPUT_LIMIT = 2_000_000                                    # characters that one cell may show
SECRET = re.compile(r"^DASHSCOPE_|^SSH_AUTH|KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
TIMED_OUT, DIED, NOT_RUN = "CellTimeoutError", "KernelDied", "NotRun"   # the names of the errors that a graded notebook shows


class SubmissionRun(Execute):
    """nbgrader's executing step with an end to everything."""

    cell_seconds = Integer(300, help="a cell that runs longer is interrupted").tag(config=True)
    total_seconds = Integer(1200, help="no cell is started later than this").tag(config=True)
    grace = Integer(15, help="how long an interrupted kernel may take to answer again").tag(config=True)

    def preprocess(self, nb, resources, km=None):
        """Run a notebook. Raises RuntimeError where no kernel starts."""
        self.ended = None                                   # why no further cell runs
        self.shown: dict[int, int] = {}
        self.deadline = None                                # counts from the first cell on, not from the kernel's start
        self.timeout = self.iopub_timeout = self.grace
        self.shell_timeout_interval = min(5, self.grace)
        self.timeout_func = lambda cell: max(1, min(self.cell_seconds, self.deadline - monotonic()))
        self.startup_timeout = 120
        self.raise_on_iopub_timeout = False                 # a late message is no fault of the cell's
        self.skip_cells_with_tag, self.shutdown_kernel = SKIP_TAG, "immediate"
        self.group = None
        place = resources["metadata"]["path"]
        with TemporaryDirectory(prefix="captionlab-submission-", ignore_cleanup_errors=True) as scratch:
            resources["metadata"]["path"] = self.scratch = scratch
            try:
                return super().preprocess(nb, resources, km)
            finally:
                resources["metadata"]["path"] = place
                self._end_processes()

    def preprocess_cell(self, cell, resources, index):
        """Run one cell, or say in its place why it did not run."""
        if cell.cell_type != "code" or is_skipped(cell):
            return cell, resources
        self.deadline = self.deadline or monotonic() + self.total_seconds
        if self.ended is None and monotonic() >= self.deadline:
            self.ended = f"the notebook was given {self.total_seconds} s"
        if self.ended is not None:
            cell.outputs = [new_output("error", ename=NOT_RUN, evalue=self.ended, traceback=[f"{NOT_RUN}: {self.ended}"])]
            return cell, resources
        seconds = self.timeout_func(cell)
        message = f"stopped after {seconds:.0f} s"
        self.error_on_timeout = {"ename": TIMED_OUT, "evalue": message, "traceback": [f"{TIMED_OUT}: {message}"]}
        try:
            cell, resources = super().preprocess_cell(cell, resources, index)
        except DeadKernelError:
            self.ended = "the kernel died in a cell before"
            cell.outputs.append(new_output("error", ename=DIED, evalue="the kernel died", traceback=[f"{DIED}: the kernel died"]))
        if any(output.get("ename") == TIMED_OUT for output in cell.outputs) and not self._answers():
            self.ended = "a cell before could not be interrupted"
        return cell, resources

    def start_new_kernel(self, **kwargs):
        """Start the kernel without secrets, on the tiny profile, in the folder that is deleted afterwards, and silent."""
        with open(os.devnull, "w") as nowhere:
            super().start_new_kernel(env=clean_environment(Path(self.scratch)), stdout=nowhere, stderr=nowhere, **kwargs)
        self.group = getattr(self.km.provisioner, "pgid", None)

    def output(self, outs, msg, display_id, cell_index):
        """Keep what a cell shows, up to OUTPUT_LIMIT; errors always."""
        content = msg["content"]
        size = len(content.get("text", "")) + sum(len(str(value)) for value in content.get("data", {}).values())
        self.shown[cell_index] = self.shown.get(cell_index, 0) + size
        if msg["msg_type"] != "error" and self.shown[cell_index] > OUTPUT_LIMIT:
            return None
        return super().output(outs, msg, display_id, cell_index)

    def _answers(self) -> bool:
        """Whether the kernel is ready for another cell within `grace` seconds."""
        try:
            return self.wait_for_reply(self.kc.kernel_info()) is not None
        except DeadKernelError:
            return False

    def _end_processes(self) -> None:
        """End what the notebook started and left behind: all of the kernel's process group."""
        if self.group is not None and sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, signal.SIGKILL)


def clean_environment(scratch: Path) -> dict[str, str]:
    """The environment in which a submission runs: this one without keys and tokens, temporary files in `scratch`."""
    kept = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
    return kept | {"CAPTIONLAB_PROFILE": "tiny", "HF_HUB_OFFLINE": "1", "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
