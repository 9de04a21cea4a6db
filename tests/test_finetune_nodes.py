"""Training from the shell on several "machines" (launchers on loopback), with and without DeepSpeed: always the same losses.

Real processes throughout. What a cluster has and this machine has not (Slurm's srun and scontrol, pdsh, ssh) is stood in for by scripts
that start the same command lines here.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from helpers.core import runs
from helpers.core.paths import FINETUNE, ROOT
from helpers.core.processes import descendants, stop_tree
from tests.run_processes import wait_for
from tests.small_student import make_samples, make_student

LIMIT = 900  # seconds; a run takes about fifteen where nothing else does
WORDS = ("--num_train_epochs", "2", "--per_device_train_batch_size", "1", "--lora_r", "8", "--lora_dropout", "0", "--learning_rate", "3e-3", "--seed", "3")
FORGOTTEN = ("NNODES", "NODE_RANK", "NPROC", "MASTER_ADDR", "MASTER_PORT", "HOSTFILE", "DS_CONFIG", "CUDA_VISIBLE_DEVICES", "OUTPUT_DIR")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random student, six samples to train on and four to evaluate."""
    folder = tmp_path_factory.mktemp("nodes")
    make_student(folder / "student")
    make_samples(folder)
    make_samples(folder, 4, "eval")
    return folder


@pytest.fixture
def begin(folder, request):
    """Starts a command with settings in its environment and returns its process, whose output goes to a file; ended after the test."""
    begun = []

    def start(command, log, **settings):
        clean = {name: value for name, value in os.environ.items() if name not in FORGOTTEN}
        named = {"PYTHON": sys.executable, "MODEL": folder / "student", "DATA": folder / "train.json", "EVAL_DATA": folder / "eval.json",
                 "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"} | settings
        with (folder / log).open("wb") as file:
            process = subprocess.Popen([str(word) for word in command], env=clean | {name: str(value) for name, value in named.items()},
                                       stdout=file, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)
        process.log = folder / log
        begun.append(process)
        return process

    yield start
    for process in begun:
        stop_tree(process)


def script(*words, name="finetune_lora.sh"):
    """The command line of a training script."""
    return ["bash", FINETUNE / name, *WORDS, *words]


def end(process, code=0):
    """Wait for a process to end with `code`; returns what it printed."""
    process.wait(timeout=LIMIT)
    printed = process.log.read_text(encoding="utf-8", errors="replace")
    assert process.returncode == code, printed[-4000:]
    return printed


def free_port():
    """A port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def nodes(begin, output_dirs, *words, settings=({}, {}), **more):
    """Start two launchers, as two machines would; returns their processes."""
    meeting = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "NPROC": 1} | more
    return [begin(script(*words), f"{Path(output_dirs[rank]).name}-{rank}.log", NODE_RANK=rank, OUTPUT_DIR=output_dirs[rank], **meeting | settings[rank])
            for rank in range(2)]


def assert_the_same_run(output_dir, reference):
    """Losses, evaluation losses and weights agree, and the result is there once, whole, without remains."""
    run, expected = runs.load_run(output_dir), runs.load_run(reference)
    for found, wanted in ((run.losses, expected.losses), (run.eval_losses, expected.eval_losses)):
        assert [step for step, _ in found] == [step for step, _ in wanted] and len(found) >= 2
        assert [loss for _, loss in found] == pytest.approx([loss for _, loss in wanted], abs=1e-3)
    learned, wanted = (load_file(path / "adapter_model.safetensors") for path in (output_dir, reference))
    assert learned.keys() == wanted.keys() and all(learned[name].allclose(wanted[name], atol=1e-3) for name in wanted)
    assert {path.name for path in output_dir.iterdir()} == {path.name for path in reference.iterdir()}


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A folder with the programs that the scripts need and no compiler."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("bash", "env", "dirname", "getconf", "grep", "tr", "wc", "uname"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


@pytest.fixture
def reference(folder, begin, tools):
    """One machine, two processes, ZeRO-2, no compiler within reach."""
    if not (folder / "reference" / runs.FINISHED).is_file():
        assert not any(shutil.which(compiler, path=str(tools)) for compiler in ("cc", "gcc", "g++", "c++", "clang", "nvcc", "ninja"))
        printed = end(begin(script(), "reference.log", NPROC=2, OUTPUT_DIR=folder / "reference", PATH=tools,
                            DS_CONFIG=FINETUNE / "ds_config_zero2_offload.json"))
        assert printed.count("ds_config_zero2_offload.json offloads the optimizer, which is left out") == 1
    return folder / "reference"


def test_two_machines_train_as_one_does(folder, begin, reference):
    shared = folder / "two"
    first, second = nodes(begin, [shared, shared], DS_CONFIG=FINETUNE / "ds_config_zero3_offload.json")
    printed = end(first) + end(second)
    assert printed.count("offloads the optimizer and parameters, which is left out") == 1 and printed.count("Finished: 6 steps") == 1
    assert_the_same_run(shared, reference)


def without_deepspeed(folder, package):
    """A folder for PYTHONPATH in which DeepSpeed is `package`, Python that fails; None: not installed."""
    place = folder / ("hidden" if package is None else "broken")
    (place / "deepspeed").mkdir(parents=True, exist_ok=True)
    (place / "deepspeed" / "__init__.py").write_text(package or "raise ModuleNotFoundError(\"No module named 'deepspeed'\", name='deepspeed')\n")
    return os.pathsep.join([str(place), str(ROOT)])


def test_as_a_plain_python_program_without_deepspeed(folder, begin, reference):
    output_dir = folder / "plain"
    command = [sys.executable, FINETUNE / "finetune.py", "--model_name_or_path", folder / "student", "--data_path", folder / "train.json",
               "--eval_data_path", folder / "eval.json", "--output_dir", output_dir, "--use_lora", "true", "--lora_alpha", "64",
               "--deepspeed", FINETUNE / "ds_config_zero2.json", *WORDS, "--gradient_accumulation_steps", "2"]
    printed = end(begin(command, "plain.log", PYTHONPATH=without_deepspeed(folder, None)))
    assert "Training without DeepSpeed, with torch alone: it is not installed." in printed
    assert_the_same_run(output_dir, reference)


# In the place of Slurm: the words of scontrol and srun as the example uses them, two machines of two cards and of one.
SCONTROL = '#!/bin/sh\n[ "$*" = "show hostnames loop[1-2]" ] && printf "127.0.0.1\\nloop2\\n"\n'
SRUN = """#!/bin/sh
[ "$1" = --kill-on-bad-exit=1 ] || exit 9
shift
SLURM_NODEID=0 CUDA_VISIBLE_DEVICES=0,1 "$@" & first=$!
SLURM_NODEID=1 CUDA_VISIBLE_DEVICES=0 "$@" & second=$!
wait $first && wait $second
"""


def stand_ins(folder, **programs):
    """Write programs to a folder of their own; returns a PATH that has them first."""
    place = folder / "-".join(programs)
    place.mkdir()
    for name, text in programs.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    return f"{place}{os.pathsep}{os.environ['PATH']}"


def test_the_slurm_example_starts_machines_of_different_sizes_and_a_broken_deepspeed_changes_nothing(folder, begin):
    command = ["bash", FINETUNE / "slurm_example.sbatch", "finetune_lora.sh", *WORDS]
    slurm = begin(command, "slurm.log", OUTPUT_DIR=folder / "slurm", PATH=stand_ins(folder, scontrol=SCONTROL, srun=SRUN), SLURM_SUBMIT_DIR=ROOT,
                  SLURM_JOB_NUM_NODES=2, SLURM_JOB_NODELIST="loop[1-2]", SLURM_JOB_ID=77, MASTER_PORT=free_port())
    end(slurm)
    run = runs.load_run(folder / "slurm")
    assert run.settings["processes"] == 3 and run.settings["deepspeed"]["zero_optimization"]["stage"] == 3

    alone = begin(script("--gradient_accumulation_steps", "3"), "alone.log", OUTPUT_DIR=folder / "alone", NPROC=1,
                  PYTHONPATH=without_deepspeed(folder, "raise OSError('libcudart.so: cannot open shared object file')"))
    assert "Training without DeepSpeed, with torch alone: importing it fails with OSError: libcudart.so" in end(alone)
    assert runs.load_run(folder / "alone").settings["deepspeed"] is None
    assert_the_same_run(folder / "slurm", folder / "alone")


# In the place of pdsh and ssh: pdsh runs the words after its options once a machine, with %n replaced by the machine's number.
PDSH = """#!/bin/bash
[[ "$1 $2 $4" == "-S -f -w" && "$5" == "one,two" ]] || exit 9
shift 5
bash -c "${*//%n/0}" & first=$!
bash -c "${*//%n/1}" & second=$!
wait $first && wait $second
"""


def test_a_hostfile_starts_deepspeeds_launcher_on_its_machines(folder, begin, reference):
    (folder / "hosts").write_text("one slots=1\ntwo slots=1\n")
    printed = end(begin(script(), "hosts.log", OUTPUT_DIR=folder / "byhostfile", HOSTFILE="hosts", MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port(),
                        PATH=stand_ins(folder, pdsh=PDSH, ssh="#!/bin/sh\nexit 0\n")))
    assert printed.count("Finished: 6 steps") == 1
    assert_the_same_run(folder / "byhostfile", reference)


def test_a_machine_that_dies_ends_the_other_with_a_sentence_and_both_continue(folder, begin):
    shared = folder / "dies"
    first, second = nodes(begin, [shared, shared], "--num_train_epochs", "12")
    wait_for(lambda: runs.last_complete_checkpoint(shared), "the first checkpoint")
    for process in descendants(second.pid):
        process.kill()
    second.send_signal(signal.SIGKILL)
    printed = end(first, code=1)
    assert "TrainingError: A process on another machine has ended, or the machine cannot be reached" in printed
    assert runs.last_complete_checkpoint(shared) and not (shared / runs.FINISHED).exists() and not descendants(first.pid)

    first, second = nodes(begin, [shared, shared], "--num_train_epochs", "12")
    printed = end(first)
    end(second)
    assert "Continuing after step" in printed
    assert [step for step, _ in runs.load_run(shared).losses] == list(range(1, 37))


def test_machines_must_agree_before_the_first_step(folder, begin):
    apart = [folder / "apart0", folder / "apart1"]
    for process, own in zip(nodes(begin, apart), apart, strict=True):
        assert f"Not all machines see the same {own}: set OUTPUT_DIR to a folder that they share" in end(process, code=1)
    other = make_samples(folder / "other", 6, "further")
    shared = folder / "disagree"
    for process in nodes(begin, [shared, shared], settings=({}, {"DATA": other})):
        assert "Process 1 was started with other settings than the first (data): give all machines" in end(process, code=1)
    assert not (shared / runs.PROGRESS).exists() and not (apart[0] / runs.PROGRESS).exists()


def test_folders_of_their_own_do_without_checkpoints(folder, begin, reference):
    apart = [folder / "own0", folder / "own1"]
    first, second = nodes(begin, apart, "--save_strategy", "no")
    assert "the result will be on the first machine" in end(first)
    end(second)
    assert_the_same_run(apart[0], reference)
    assert not list(apart[1].glob("*.safetensors")) and json.loads((apart[0] / runs.FINISHED).read_text())["steps"] == 6
