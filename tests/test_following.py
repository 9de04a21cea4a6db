"""A run followed from a real Jupyter kernel: one growing picture, the stop button, a killed kernel, a rank that dies."""

import os
import signal
from pathlib import Path

import pytest
from jupyter_client import KernelManager

from helpers.core import runs
from helpers.core.errors import InputError, Stopped
from helpers.core.following import Curve, Progress
from helpers.core.processes import is_alive, undisturbed
from helpers.core.training_figures import live_figure, progress_text
from tests.run_processes import WAIT_SECONDS, processes_of, wait_for
from tests.small_student import make_samples, make_student

ROOT = Path(__file__).resolve().parents[1]


class Notebook:
    """A Jupyter kernel that runs cells and keeps what a page would get."""

    def __init__(self):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(ROOT), env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WAIT_SECONDS)

    def start(self, code):
        """Begin a cell; returns the id that its messages bear."""
        return self.client.execute(code)

    def finish(self, cell):
        """Every message of the cell until the kernel is idle again, as (type, content)."""
        found = []
        while True:
            message = self.client.get_iopub_msg(timeout=WAIT_SECONDS)
            if message["parent_header"].get("msg_id") == cell:
                found.append((message["msg_type"], message["content"]))
                if found[-1] == ("status", {"execution_state": "idle"}):
                    return found

    def close(self):
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook():
    notebook = Notebook()
    yield notebook
    notebook.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("following")
    make_student(folder / "student")
    make_samples(folder)
    make_samples(folder, 4, "eval")
    return folder


def cell(folder, output_dir, epochs=12):
    """A cell that launches a LoRA run of 2 steps an epoch."""
    return (f"from helpers.finetuning import launch\n"
            f"run = launch('lora', model={str(folder / 'student')!r}, data={str(folder / 'train.json')!r}, eval_data={str(folder / 'eval.json')!r}, "
            f"output_dir={str(output_dir)!r}, epochs={epochs}, micro_batch_size=2, learning_rate=3e-3, rank=8, alpha=16)\n"
            f"print('finished:', run.steps)")


def test_the_stop_button_ends_a_run_that_the_next_launch_continues(folder, notebook, tmp_path):
    output_dir = tmp_path / "stopped"
    running = notebook.start(cell(folder, output_dir))
    wait_for(lambda: runs.last_complete_checkpoint(output_dir), "the first checkpoint")
    assert len(processes_of(output_dir)) >= 3  # torchrun and two ranks
    notebook.manager.interrupt_kernel()
    error = dict(notebook.finish(running))["error"]
    assert not processes_of(output_dir)
    shown = "\n".join(error["traceback"])
    assert len(error["traceback"]) == 1 and "KeyboardInterrupt" in shown and "continues after step" in shown and "\n" not in shown

    kept = runs.step_of(runs.last_complete_checkpoint(output_dir))
    told = notebook.finish(notebook.start(cell(folder, output_dir)))
    assert ("stream", {"name": "stdout", "text": "finished: 24\n"}) in told
    assert f"Continuing after step {kept}." in (output_dir / runs.LOG).read_text()
    # One picture, then replaced in place: a stored notebook holds one.
    first = [content for kind, content in told if kind == "display_data" and "image/png" in content["data"]]
    later = [content for kind, content in told if kind == "update_display_data" and "image/png" in content["data"]]
    assert len(first) == 1 and later and {content["transient"]["display_id"] for content in later} == {first[0]["transient"]["display_id"]}
    assert later[-1]["data"]["text/plain"].startswith("LoRA: step 24 of 24, loss ")
    assert not [kind for kind, _ in told if kind == "clear_output"]


def test_a_killed_kernel_takes_its_run_along(folder, notebook, tmp_path):
    output_dir = tmp_path / "killed"
    notebook.start(cell(folder, output_dir))
    wait_for(lambda: runs.read_progress(output_dir)[0], "the first step")
    below = processes_of(output_dir)
    assert len(below) >= 3
    os.kill(notebook.manager.provisioner.process.pid, signal.SIGKILL)
    wait_for(lambda: not [process for process in below if is_alive(process.pid)] and not processes_of(output_dir), "the end of all processes")


def test_a_rank_that_dies_is_told_in_a_sentence_and_the_log(folder, notebook, tmp_path):
    output_dir = tmp_path / "dying"
    running = notebook.start(cell(folder, output_dir))
    wait_for(lambda: runs.read_progress(output_dir)[0], "the first step")
    ranks = [process for process in processes_of(output_dir) if "torch.distributed.run" not in process.cmdline()]
    os.kill(ranks[-1].pid, signal.SIGKILL)
    error = dict(notebook.finish(running))["error"]
    assert error["ename"] == "TrainingError" and not processes_of(output_dir)
    lines = "\n".join(error["traceback"]).splitlines()
    assert "The training run stopped: a process was ended by signal 9" in lines[0] and "Launch it again" in lines[0]
    assert len(lines) <= 14 and "launch(" not in "\n".join(lines)  # no calls that led to it


LINES = [{"step": 0, "of": 10}, {"step": 1, "loss": 4.0, "seconds": 1.0}, {"step": 2, "loss": 2.0, "seconds": 2.0}, {"step": 2, "eval_loss": 2.5}]


def test_a_curve_is_drawn_of_what_counts():
    # A run killed after step 2 and continued from step 1: its second step was made twice, and counts once.
    lines = [*LINES, {"step": 1, "of": 10}, {"step": 2, "loss": 3.0, "seconds": 2.0}]
    axes = live_figure(lines, "lora").axes[0]
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[4.0, 3.0]] and axes.get_xlim()[1] >= 10
    assert progress_text(lines, "lora") == "LoRA: step 2 of 10, loss 3"
    assert progress_text(LINES, "full") == "full: step 2 of 10, loss 2, evaluation loss 2.5"
    assert live_figure([], "lora").axes  # nothing yet is no error


def test_lines_of_a_run_that_was_replaced_are_forgotten(tmp_path):
    path = tmp_path / runs.PROGRESS
    path.write_text('{"step": 0, "of": 4}\n{"step": 1, "loss": 9.0}\n')
    progress = Progress(tmp_path)
    assert progress.news() == [] and not progress.begun and len(progress.lines) == 2
    path.unlink()
    assert progress.news() == [] and progress.lines == []
    path.write_text('{"step": 0, "of": 8}\n')
    assert progress.news() == [{"step": 0, "of": 8}] and progress.begun and progress.lines == [{"step": 0, "of": 8}]


def test_a_curve_is_not_drawn_twice_of_the_same(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: shown.append(kwargs) or type("Handle", (), {"update": lambda self, *a, **k: shown.append(k)})())
    curve = Curve("lora")
    curve.draw(LINES, now=True)
    curve.draw(LINES, now=True)
    curve.draw([*LINES, {"step": 3, "loss": 1.0}])  # too soon after the first
    assert len(shown) == 1
    curve.draw([*LINES, {"step": 3, "loss": 1.0}], now=True)
    assert len(shown) == 2


def test_ctrl_c_waits_until_processes_have_started_or_ended():
    done = []
    with pytest.raises(KeyboardInterrupt), undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("to its end")
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_stopped_run_is_a_keyboard_interrupt_and_no_error_that_someone_may_swallow():
    assert issubclass(Stopped, KeyboardInterrupt) and not issubclass(Stopped, Exception)
    assert Stopped("Kept.")._render_traceback_() == ["\x1b[31mKeyboardInterrupt\x1b[0m: Kept."]
    assert InputError("Mend it.")._render_traceback_() == ["\x1b[31mInputError\x1b[0m: Mend it."]
