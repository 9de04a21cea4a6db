"""finetune/readme.md keeps to the truth: its commands run as they stand, its options exist with the defaults it names, its table is the planner's."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest
import typer.main

from helpers import cli
from helpers.core.memory import Setup, plan
from helpers.core.model_sizes import read_size
from helpers.core.paths import FINETUNE, ROOT

MANUAL = (FINETUNE / "readme.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(<!-- run -->\n)?```bash\n(.*?)```", MANUAL, re.DOTALL)
OTHER_PROGRAMS = {"--nodes": "sbatch", "--local-dir": "hf", "--logdir": "tensorboard"}
LIMIT = 1500  # seconds; the whole takes about a minute where nothing else runs


@pytest.fixture(scope="module")
def training_options():
    """The options of finetune.py: {"--lora_r": 64, …}."""
    specification = importlib.util.spec_from_file_location("finetune_as_a_module", FINETUNE / "finetune.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    groups = (module.ModelArguments, module.DataArguments, module.LoraOptions, module.Arguments)
    return {f"--{one.name}": one.default if one.default is not MISSING else None for group in groups for one in fields(group)}


def test_its_commands_run_as_they_stand(tmp_path):
    """In a copy of the repository's parts, with `captionlab` and `python` as an active environment has them."""
    shutil.copytree(FINETUNE, tmp_path / "finetune", ignore=shutil.ignore_patterns("data", "output", "__pycache__"))
    for name in ("helpers", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "bin").mkdir()
    for name, words in (("python", ""), ("captionlab", "-m helpers.cli ")):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    marked = [text for mark, text in BLOCKS if mark]
    assert len(marked) >= 8
    forgotten = ("VIRTUAL_ENV", "CONDA_PREFIX", "NPROC", "NNODES", "DS_CONFIG", "MODEL", "DATA", "EVAL_DATA", "OUTPUT_DIR")
    clean = {name: value for name, value in os.environ.items() if name not in forgotten}
    environment = clean | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(tmp_path), "COLUMNS": "200",
                           "PYTHON": "python"}
    ran = subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join(marked)], cwd=tmp_path, env=environment, capture_output=True, text=True,
                         timeout=LIMIT)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    made = tmp_path / "my"
    assert all((made / name).is_file() for name in (
        "lora/adapter_model.safetensors", "full/model.safetensors", "careful/run.json", "plain/run.json", "merged/model.safetensors",
        "lora-says.json", "full-says.json", "merged-says.json"))
    # Merged or beside its base, an adapter says the same.
    assert (made / "merged-says.json").read_bytes() == (made / "lora-says.json").read_bytes()
    assert list((made / "careful" / "tensorboard").rglob("events.*"))
    assert "Training without DeepSpeed: the run was started without torchrun" in ran.stdout and "--model_max_length" in ran.stdout


def test_every_option_it_names_exists(training_options):
    commands = {option for command in typer.main.get_command(cli.app).commands.values() for one in command.params for option in one.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*\w", MANUAL))
    assert len(named) > 50
    assert not named - training_options.keys() - commands - OTHER_PROGRAMS.keys() - {"--help"}


def test_every_option_of_ours_is_in_it(training_options):
    theirs = {f"--{one.name}" for one in fields(__import__("transformers").TrainingArguments)}
    said_as_settings = {"--model_name_or_path", "--data_path", "--eval_data_path"}
    assert not {name for name in training_options.keys() - theirs - said_as_settings if name not in MANUAL}


def test_the_defaults_are_those_it_names(training_options):
    rows = re.findall(r"^\| (`--[^|]+) \| ([^|]+) \|", MANUAL, re.MULTILINE)
    compared = 0
    for names, defaults in rows:
        names, values = re.findall(r"--\w+", names), defaults.split(", ")
        if re.search(r"[a-z] |'s", defaults):  # in words: the device, the model or the script decides
            continue
        for name, value in zip(names, values * (len(names) if len(values) == 1 else 1), strict=True):
            real = training_options[name]
            real = getattr(real, "value", real)
            told = {"–": None, "false": False, "true": True}.get(value, value)
            if told in (None, False):
                same = real is told or real is None or (told is None and real == -1)  # transformers' words for "not given"
            else:
                is_number = isinstance(real, int | float) and not isinstance(real, bool)
                same = float(told) == float(real) if is_number else told == real
            assert same, f"{name}: the manual says {value}, the program {real}"
            compared += 1
    assert compared > 25


def memory_table(model: str) -> str:
    """The planner's figures for every configuration, as the manual shows them."""
    size = read_size(model)
    lines = ["| | 1 GPU | 2 | 4 | 8 | main memory a GPU, of 8 |", "|---|---|---|---|---|---|"]
    for strategy in ("lora", "full"):
        for zero, offload in ((0, "none"), (2, "none"), (2, "optimizer"), (3, "none"), (3, "all")):
            plans = [plan(size, Setup(strategy, zero, offload, gpus=gpus)) for gpus in (1, 2, 4, 8)]
            name = f"`ds_config_zero{zero}{'' if offload == 'none' else '_offload'}`" if zero else "without DeepSpeed"
            host = sum(plans[-1].host.values()) / 2**30
            figures = [f"{one.total / 2**30:.1f}" for one in plans] + [f"{host:.1f}" if host else "–"]
            lines.append(f"| {strategy}, {name} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def test_the_memory_table_is_what_the_planner_says_today():
    model, shown = re.search(r"<!-- plan (\S+) -->\n(.*?)\n?<!-- end -->", MANUAL, re.DOTALL).groups()
    fresh = memory_table(model)
    assert shown.strip() == fresh, f"put this into finetune/readme.md:\n{fresh}"


def test_the_files_and_places_that_it_names_are_there():
    for name in re.findall(r"\b(?:finetune/)?((?:ds_config_\w+|finetune\w*|slurm_example)\.(?:json|sh|sbatch|py))\b", MANUAL):
        assert (FINETUNE / name).is_file(), name
    for path in re.findall(r"`((?:helpers|notebooks|data)/[\w./]+)`", MANUAL):
        assert (ROOT / path).exists(), path
    places = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", MANUAL, re.MULTILINE)}
    links = re.findall(r"\]\(#([^)]+)\)", MANUAL)
    assert len(links) > 12 and set(links) <= places


def test_what_the_tests_do_not_run_says_so():
    unmarked = [text for mark, text in BLOCKS if not mark]
    assert unmarked and all(re.search(r"NNODES|HOSTFILE|sbatch|MODEL=openbmb|HF_ENDPOINT|hf download", text) for text in unmarked)
