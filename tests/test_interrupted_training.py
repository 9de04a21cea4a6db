"""What breaks a run, for real: a rank killed, the launcher killed, no room left in the middle of saving.

Each run is started by hand with bash, as at a shell, and broken after its first checkpoint. Then: what the person at the shell reads,
that nothing is left running, that the last checkpoint is whole, and that the continued run ends where an undisturbed one does.
Each kind of break meets another way of sharding; LoRA under ZeRO-2 is in test_finetuning.py.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from helpers.core import runs
from helpers.core.runs import load_run
from tests.run_processes import WAIT_SECONDS, processes_of, wait_for
from tests.small_student import make_samples, make_student

ROOT = Path(__file__).resolve().parents[1]
SMALL_FILE = 200_000  # bytes: progress.jsonl fits, no weights do
OPTIONS = ("--num_train_epochs 16 --per_device_train_batch_size 2 --learning_rate 1e-3 --seed 5 --save_strategy steps --save_steps 4 "
           "--gradient_accumulation_steps 1").split()
BREAKS = {"launcher": "zero3", "rank": "", "disk": "zero2"}


def command_of(process):
    """The words that finetune.py was given, of a rank's process."""
    words = process.cmdline()
    return words[[Path(word).name for word in words].index("finetune.py") + 1:]


def break_off(what, launcher, ranks):
    """Do to a run's processes what `what` names."""
    if what == "launcher":
        launcher.send_signal(signal.SIGKILL)
    elif what == "rank":
        ranks[1].send_signal(signal.SIGKILL)
    else:  # no file may grow beyond this: the same to a program as a disk that fills up while it writes
        for rank in ranks:
            rank.rlimit(psutil.RLIMIT_FSIZE, (SMALL_FILE, SMALL_FILE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    make_student(folder / "student")
    make_samples(folder, 8)
    return folder


@pytest.fixture(scope="module")
def broken(folder):
    """Starts and breaks all runs: {what: (exit code, what the shell shows, finetune.py's words, checkpoint, its files' sizes)}."""
    ends = {}
    for what, sharding in BREAKS.items():
        output_dir = folder / what
        environment = os.environ | {
            "PYTHON": sys.executable, "MODEL": str(folder / "student"), "DATA": str(folder / "train.json"), "EVAL_DATA": "",
            "OUTPUT_DIR": str(output_dir), "NPROC": "2", "OMP_NUM_THREADS": "1",
            "DS_CONFIG": str(ROOT / "finetune" / f"ds_config_{sharding}.json") if sharding else "",
        }
        with (folder / f"{what}.log").open("w") as screen:
            launcher = subprocess.Popen(["bash", str(ROOT / "finetune" / "finetune_ds.sh"), *OPTIONS], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT, start_new_session=True)
            wait_for(lambda: runs.last_complete_checkpoint(output_dir) or launcher.poll() is not None, "the first checkpoint")
            ranks = sorted(psutil.Process(launcher.pid).children(), key=lambda process: int(process.environ()["RANK"]))
            words = command_of(ranks[1])
            break_off(what, launcher, ranks)
            code = launcher.wait(WAIT_SECONDS)
            wait_for(lambda: not processes_of(output_dir), "the end of all processes")
        checkpoint = runs.last_complete_checkpoint(output_dir)
        ends[what] = code, (folder / f"{what}.log").read_text(), words, checkpoint
    return ends


def test_a_killed_rank_is_told_at_the_shell_in_one_sentence(broken):
    code, screen, *_ = broken["rank"]
    assert code == 128 + signal.SIGKILL
    assert [line for line in screen.splitlines() if line.startswith("error:")] == [
        "error: a process (rank 1) was ended by signal 9, SIGKILL (often the system's, when the memory is full). "
        "The same command continues from the last checkpoint."]
    assert "Traceback" not in screen and "ChildFailedError" not in screen


def test_a_killed_launcher_takes_its_processes_along_and_they_say_so(broken):
    code, screen, *_ = broken["launcher"]
    assert code == -signal.SIGKILL  # the shell says "Killed"
    assert [line for line in screen.splitlines() if line.startswith("error:")] == [
        "error: the process that started this run is gone, so it ends; the same command continues from its last checkpoint."]


def test_no_room_while_saving_is_told_in_one_sentence(broken):
    code, screen, _, checkpoint = broken["disk"]
    assert code == 1
    told = [line for line in screen.splitlines() if line.startswith("ResourceError:")]
    assert len(told) == 1 and "The disk is full (or a limit on files is reached): free space" in told[0]
    assert "Traceback" not in screen and "ChildFailedError" not in screen
    unfinished = [path for path in runs.checkpoints(checkpoint.parent) if path != checkpoint]
    assert unfinished and all(runs.step_of(path) > runs.step_of(checkpoint) for path in unfinished)
    assert not [path for path in runs.checkpoints(checkpoint.parent) if (path / runs.COMPLETE).exists() and path != checkpoint]


def test_what_was_broken_off_ends_where_an_undisturbed_run_does(broken, folder):
    jobs = []
    for what, (_, _, words, checkpoint) in broken.items():
        assert 4 <= runs.step_of(checkpoint) < 32 and not (folder / what / runs.FINISHED).exists(), what
        undisturbed = [str(folder / f"{what}-undisturbed") if word == str(folder / what) else word for word in words]
        jobs += [words, [*undisturbed, "--save_strategy", "no"]]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    group = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(ROOT / "tests" / "training_group.py"),
         str(folder / "jobs.json")], env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert group.returncode == 0, group.stdout[-3000:]
    for what, (*_, checkpoint) in broken.items():
        assert f"Continuing after step {runs.step_of(checkpoint)}." in group.stdout
        continued, undisturbed = load_run(folder / what), load_run(folder / f"{what}-undisturbed")
        assert continued.steps == undisturbed.steps == 32 and undisturbed.losses[-1][1] < undisturbed.losses[0][1] - 1
        assert continued.losses == [(step, pytest.approx(loss, abs=1e-4)) for step, loss in undisturbed.losses], what
        ended, wanted = (load_file(run.output_dir / "model.safetensors") for run in (continued, undisturbed))
        assert max((ended[name] - wanted[name]).abs().max() for name in wanted) < 1e-4, what
