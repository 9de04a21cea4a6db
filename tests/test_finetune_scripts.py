"""The training scripts before training: their settings and refusals, what they start, and the DeepSpeed configurations as DeepSpeed reads them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.core import deepspeed_start
from helpers.core.errors import InputError
from helpers.core.paths import FINETUNE, ROOT

SHELL = sorted([*FINETUNE.glob("*.sh"), *FINETUNE.glob("*.sbatch"), ROOT / ".ci" / "run"])
CONFIGS = {"ds_config_zero2": (2, "none", "none"), "ds_config_zero2_offload": (2, "cpu", "none"),
           "ds_config_zero3": (3, "none", "none"), "ds_config_zero3_offload": (3, "cpu", "cpu")}


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_a_shell_reads_the_scripts_as_they_are_meant(script):
    checked = subprocess.run([str(Path(sys.executable).with_name("shellcheck")), "--external-sources", str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.fixture
def start(tmp_path):
    """Runs a script with settings, and a Python that has torch but prints its words instead of training; returns what came of it."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nif [ "$1" = -c ]; then exit 0; fi\nfor word; do echo "$word"; done\n')
    python.chmod(0o755)
    (tmp_path / "train.json").write_text("[]")

    def run(*words, script="finetune_lora.sh", **settings):
        named = {"PYTHON": str(python), "DATA": str(tmp_path / "train.json")} | {name: str(value) for name, value in settings.items()}
        clean = {name: value for name, value in os.environ.items() if name not in ("NNODES", "NPROC", "CUDA_VISIBLE_DEVICES")}
        return subprocess.run(["bash", str(FINETUNE / script), *words], env=clean | named, capture_output=True, text=True, cwd=tmp_path)

    return run


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"DATA": "none.json"}, "there is no file none.json; set DATA to a conversation file"),
    ({"EVAL_DATA": "none.json"}, "there is no file none.json; set EVAL_DATA"),
    ({"MODEL": "./no-model"}, "there is no model folder ./no-model; set MODEL"),
    ({"MODEL": "models/mine/"}, "there is no model folder models/mine/"),
    ({"MODEL": "/no/model"}, "there is no model folder /no/model"),
    ({"NPROC": "two"}, "NPROC is 'two', which is no number"),
    ({"NPROC": "0"}, "NPROC is 0; set it to the number of processes"),
    ({"NNODES": "2-4"}, "NNODES is '2-4', which is no number"),
    ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http', which is no number"),
    ({"NNODES": "2", "MASTER_ADDR": "node-1"}, "NNODES is 2 and NODE_RANK is not set; number the machines from 0 to 1"),
    ({"NNODES": "2", "MASTER_ADDR": "node-1", "NODE_RANK": "2"}, "NODE_RANK is 2 and NNODES is 2; number the machines from 0 to 1"),
    ({"NNODES": "2", "NODE_RANK": "1"}, "NNODES is 2 and MASTER_ADDR is not set"),
    ({"DS_CONFIG": "ds_config_zero9.json"}, "there is no DeepSpeed configuration ds_config_zero9.json; set DS_CONFIG"),
    ({"HOSTFILE": "hosts"}, "there is no file hosts; set HOSTFILE to a list of machines"),
    ({"HOSTFILE": "train.json", "NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "node-1"}, "NNODES and HOSTFILE are two ways of naming machines"),
    ({"PYTHON": "python9"}, "there is no python9; make .venv first"),
])
@pytest.mark.parametrize("script", ["finetune_lora.sh", "finetune_ds.sh"])
def test_a_setting_that_cannot_be_is_one_sentence_and_starts_nothing(start, settings, sentence, script):
    refused = start(script=script, **settings)
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr.startswith(f"error: {sentence}") and refused.stderr.count("\n") == 1


def test_what_is_started_for_one_machine_for_several_and_by_hostfile(start, tmp_path):
    alone = start("--lora_r", "8", NPROC=3, DS_CONFIG="").stdout.splitlines()
    assert alone[:4] == [str(FINETUNE / "start.py"), "--standalone", "--nproc-per-node", "3"]
    assert alone[-2:] == ["--lora_r", "8"] and "--deepspeed" not in alone
    assert Path(alone[alone.index("--model_name_or_path") + 1]).samefile(ROOT / "data" / "models" / "minicpmv-tiny")

    second = start(NNODES=2, NODE_RANK=1, MASTER_ADDR="node-1", MASTER_PORT=29511, CUDA_VISIBLE_DEVICES="0,2,5", MODEL="openbmb/MiniCPM-V-4.6",
                   script="finetune_ds.sh").stdout.splitlines()
    assert second[1:12] == ["--nnodes", "2", "--node-rank", "1", "--master-addr", "node-1", "--master-port", "29511", "--nproc-per-node", "3",
                            str(FINETUNE / "finetune.py")]
    assert second[second.index("--deepspeed") + 1] == str(FINETUNE / "ds_config_zero2.json")
    assert second[second.index("--model_name_or_path") + 1] == "openbmb/MiniCPM-V-4.6"

    (tmp_path / "hosts").write_text("node-1 slots=8\nnode-2 slots=4\n")
    hosts = start(HOSTFILE="hosts").stdout.splitlines()
    assert hosts[:4] == ["-m", "deepspeed.launcher.runner", "--hostfile", "hosts"]
    assert start(CUDA_VISIBLE_DEVICES="").stdout.splitlines()[3] == "2"  # no card: two processes of the CPU


def test_every_configuration_has_its_test():
    assert {path.stem for path in FINETUNE.glob("ds_config_*.json")} == set(CONFIGS)


def as_a_gpu_reads(name: str) -> dict:
    """A configuration as transformers hands it to DeepSpeed for a bf16 run on GPUs: every "auto" replaced."""
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    class Training:
        """The arguments that transformers looks at."""

        world_size, per_device_train_batch_size, gradient_accumulation_steps, max_grad_norm = 1, 2, 4, 1.0
        learning_rate, adam_beta1, adam_beta2, adam_epsilon, weight_decay = 1e-4, 0.9, 0.999, 1e-8, 0.0
        fp16, bf16, bf16_full_eval, fp16_full_eval, fp16_opt_level, fp16_backend = False, True, False, False, None, "auto"
        save_on_each_node = False

        def get_warmup_steps(self, steps):
            return 0

    config, left_out = deepspeed_start.read_config(FINETUNE / f"{name}.json", on_cpu=False)
    assert left_out == []
    read = HfTrainerDeepSpeedConfig(config)
    read.trainer_config_process(Training())
    return read.config


@pytest.mark.parametrize("name", CONFIGS)
def test_deepspeed_accepts_the_configuration_as_a_gpu_reads_it(name):
    from deepspeed.runtime.config import DeepSpeedConfig

    read = DeepSpeedConfig(as_a_gpu_reads(name))
    zero = read.zero_config
    devices = [getattr(part.device, "value", part.device) if part else "none" for part in (zero.offload_optimizer, zero.offload_param)]
    assert (int(zero.stage), *devices) == CONFIGS[name]
    assert read.bfloat16_config.enabled and not read.float16_config.enabled
    assert (read.train_batch_size, read.train_micro_batch_size_per_gpu, read.gradient_accumulation_steps) == (8, 2, 4)
    assert zero.reduce_bucket_size == 50_000_000 and read.zero_allow_untested_optimizer
    # The same schema refuses what DeepSpeed does not know, so a word of ours that it stops knowing fails here.
    wrong = as_a_gpu_reads(name)
    wrong["zero_optimization"]["reduce_bucket"] = 1
    with pytest.raises(ValueError, match="reduce_bucket"):
        DeepSpeedConfig(wrong)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cpu_leaves_out_what_is_offloaded_and_says_so(name):
    config, left_out = deepspeed_start.read_config(FINETUNE / f"{name}.json", on_cpu=True)
    assert not {"offload_optimizer", "offload_param"} & config["zero_optimization"].keys()
    optimizer, parameters = (device != "none" for device in CONFIGS[name][1:])
    assert len(left_out) == (optimizer or parameters)
    assert all(f"{name}.json offloads" in sentence and ("parameters" in sentence) == parameters for sentence in left_out)


@pytest.mark.parametrize(("zero", "said"), [({"stage": 3}, 1), ({"stage": 3, "stage3_gather_16bit_weights_on_model_save": False}, 1),
                                            ({"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}, 0), ({"stage": 2}, 0)])
def test_a_configuration_whose_result_would_hold_no_weights_is_completed(tmp_path, zero, said):
    (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": zero}))
    config, sentences = deepspeed_start.read_config(tmp_path / "ds.json", on_cpu=False)
    assert config["zero_optimization"].get("stage3_gather_16bit_weights_on_model_save", zero["stage"] == 2) is True
    assert len(sentences) == said and all("ds.json does not put the weights together" in sentence for sentence in sentences)


@pytest.mark.parametrize(("text", "sentence"), [(None, "There is no DeepSpeed configuration"), ("{", "is no JSON object"), ("[]", "is no JSON object")])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "ds.json").write_text(text)
    with pytest.raises(InputError, match=sentence):
        deepspeed_start.read_config(tmp_path / "ds.json", on_cpu=True)


@pytest.mark.parametrize(("package", "reason"), [
    (None, "it is not installed"),
    ("raise OSError('libcudart.so: cannot open shared object file\\nmore')", "importing it fails with OSError: libcudart.so: cannot open shared object file"),
    ("raise RuntimeError('no compiler.')", "importing it fails with RuntimeError: no compiler"),
    ("import no_such_part", "importing it fails with ModuleNotFoundError: No module named 'no_such_part'"),
])
def test_a_deepspeed_that_cannot_be_imported_is_told_and_hidden(tmp_path, package, reason):
    program = "import sys\n"
    if package is None:
        program += "sys.modules['deepspeed'] = None\n"
    else:
        (tmp_path / "deepspeed").mkdir()
        (tmp_path / "deepspeed" / "__init__.py").write_text(package)
    program += "from helpers.core.deepspeed_start import why_not\nprint(why_not())\nimport importlib.util\nprint(importlib.util.find_spec('deepspeed'))\n"
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    told = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, cwd=tmp_path)
    assert told.stdout == f"{reason}\nNone\n", told.stderr


def test_the_slurm_example_reads_as_slurm_reads_it():
    lines = (FINETUNE / "slurm_example.sbatch").read_text(encoding="utf-8").splitlines()
    options = [line.split()[1].split("=")[0] for line in lines if line.startswith("#SBATCH ")]
    assert {"--nodes", "--ntasks-per-node", "--gpus-per-node"} <= set(options)
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH ") for line in lines[first_command:])  # sbatch stops reading there
    assert lines[0] == "#!/usr/bin/env bash"
