"""The memory planner: sizes counted from shapes, formulae against what autograd and DeepSpeed do, published and measured runs, faults."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from helpers import cli
from helpers.core.deepspeed_buffers import Buffers, kit_buffers, read_settings
from helpers.core.errors import InputError
from helpers.core.footprint import resident_peak, weights_in_file
from helpers.core.memory import CUDA_CONTEXT, PARTS, Setup, _backward, largest_picture, plan
from helpers.core.memory_figure import memory_chart
from helpers.core.memory_report import measured, published
from helpers.core.model_sizes import ADAPTED, build_on_meta, load_sizes, read_size
from helpers.core.paths import FINETUNE
from helpers.finetuning import launch, plan_memory
from tests.small_families import build_family
from tests.small_student import make_samples, make_student

LARGE, FIRST = "openbmb/MiniCPM-V-4.6", "openbmb/MiniCPM-V-2"


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A folder with a very small random student."""
    return make_student(tmp_path_factory.mktemp("memory") / "student")


@pytest.fixture(scope="module")
def large():
    """MiniCPM-V 4.6, from shapes alone."""
    return read_size(LARGE)


def test_a_folder_is_counted_as_its_weights_are(student):
    with safe_open(student / "model.safetensors", "pt") as file:
        stored = sum(torch.Size(file.get_slice(name).get_shape()).numel() for name in file.keys())
    assert read_size(student).parameters == stored


def test_the_shipped_sizes_agree_with_what_they_are_derived_from(large):
    models = load_sizes()["models"]
    assert large.parameters == models[LARGE]["parameters"]
    first = read_size(FIRST)
    text = first.text
    layer = 4 * text.hidden**2 + 3 * text.hidden * text.intermediate + 2 * text.hidden
    assert first.text_parameters == text.layers * layer + 2 * text.vocabulary * text.hidden + text.hidden
    assert first.largest_parameter == text.vocabulary * text.hidden
    assert first.adapter_width == text.layers * 4 * 2 * text.hidden
    assert 2 * first.parameters / 1e9 == pytest.approx(models[FIRST]["weights_gb"], rel=1e-3)


def test_adapters_are_counted_as_peft_makes_them(student, large):
    from peft import LoraConfig, get_peft_model

    for name, content in ((str(student), json.loads((student / "config.json").read_text())), (LARGE, load_sizes()["models"][LARGE]["config"])):
        model, _ = build_on_meta(name, content)
        adapted = get_peft_model(model, LoraConfig(r=5, target_modules=ADAPTED))
        made = sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
        assert made == 5 * read_size(name).adapter_width > 0


@pytest.mark.parametrize("family", ["qwen2_5_vl", "smolvlm", "idefics3"])
def test_other_families_are_counted_from_their_folder(family, tmp_path):
    build_family(family, tmp_path / "model")
    size = read_size(tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        stored = sum(torch.Size(file.get_slice(name).get_shape()).numel() for name in file.keys())
    assert size.parameters == stored and min(size.text_parameters, size.vision_parameters, size.merger_parameters) > 0
    assert size.adapter_width > 0
    # small_families.py: 8 x 8 patches and 16 tokens at most; views of 16 patches and 4 tokens
    assert (size.patches, size.image_tokens, size.elastic) == ((64, 16, True) if family == "qwen2_5_vl" else (16, 4, False))
    assert (size.views == 1) == (family == "qwen2_5_vl")
    for strategy in ("lora", "full"):
        assert run("--model", tmp_path / "model", "--strategy", strategy, "--gpus", "1,2").exit_code == 0


def test_an_elastic_picture_is_as_large_as_the_sample_has_room_for(tmp_path):
    size = read_size(build_family("qwen2_5_vl", tmp_path / "model"))
    assert largest_picture(size, Setup(sequence_length=9)) == 8 * 4
    assert largest_picture(size, Setup(sequence_length=2048)) == 64


def test_sharing_follows_zero(large):
    alone, two, eight = (plan(large, Setup("full", 2, gpus=gpus)) for gpus in (1, 2, 8))
    for part in ("gradients", "optimizer"):
        assert alone.moments["update"][part] == pytest.approx(2 * two.moments["update"][part]) == pytest.approx(8 * eight.moments["update"][part])
    assert two.moments["backward"]["parameters"] == eight.moments["backward"]["parameters"] == 2 * large.parameters
    third = plan(large, Setup("full", 3, gpus=8))
    assert third.moments["update"]["parameters"] == pytest.approx(2 * large.parameters / 8, abs=1)


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_model_states_are_deepspeeds_and_what_its_estimators_leave_out(large, gpus):
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    count = large.parameters
    states = {stage: sum(plan(large, Setup("full", stage, gpus=gpus)).moments["casting"][part] for part in PARTS[:3]) for stage in (2, 3)}
    # Left out in stage 2: the copy in which gradients are flattened. In stage 3 that, and the 16-bit gradients' own buffer.
    assert states[2] == pytest.approx(estimate_zero2_model_states_mem_needs(count, gpus, cpu_offload=False)[1] + 2 * count / gpus, abs=8)
    largest = large.largest_parameter
    whole = estimate_zero3_model_states_mem_needs(count, largest, gpus, cpu_offload=False, cpu_offload_params=False)[1] - 4 * largest
    group = min(1e9, count / gpus)  # flattened and cast sub-group by sub-group, which the estimator does not know either
    assert states[3] == pytest.approx(whole + 4 * count / gpus - 6 * (count / gpus - group), abs=8)
    offloaded = plan(large, Setup("full", 2, "optimizer", gpus=gpus))
    assert offloaded.moments["update"]["parameters"] == estimate_zero2_model_states_mem_needs(count, gpus)[1]
    assert offloaded.moments["update"]["optimizer"] == 0 < offloaded.host["optimizer"]


def test_what_costs_less_is_planned_as_less(large):
    def total(strategy, zero, offload="none", gpus=8, **settings):
        return plan(large, Setup(strategy, zero, offload, gpus=gpus, **settings)).total

    # On two GPUs stage 3 needs more than stage 2: it keeps a buffer of gradients, and gathers parameters.
    stages = [total("full", 0), total("full", 2), total("full", 3), total("full", 3, "optimizer"), total("full", 3, "all"),
              total("full", 3, "all", views=1)]
    assert stages == sorted(stages, reverse=True) and len(set(stages)) == len(stages)
    # On many GPUs LoRA's copies of the vision tower weigh more than the states that it spares.
    assert total("full", 2, gpus=2) > total("lora", 2, gpus=2) > total("lora", 2, gpus=2, copies=False)
    assert total("lora", 2) > total("lora", 2, tune_vision=False)
    assert total("full", 2, checkpointing=False) > total("full", 2) and total("full", 2, micro_batch=2) > total("full", 2)


def test_a_bucket_is_reduced_when_what_filled_it_has_let_go(large):
    setup = Setup("full", 2, gpus=2, buffers=Buffers(reduce=300_000_000))  # larger than the words' embeddings
    times = _backward(large, setup, 1_000_000_000, {"parameters": 1}, gradients=7, early=False)
    assert [left for left, _ in times] == pytest.approx([1, 0.7, 0.4, 0])
    assert [parts["gradients"] for _, parts in times] == [0, 0, 7, 7]
    assert [parts["buffers"] for _, parts in times] == [2 * size for size in (300_000_000, 600_000_000, 600_000_000, 400_000_000)]
    kept = _backward(large, setup, 1_000_000_000, {}, gradients=7, early=True)
    assert [parts["gradients"] for _, parts in kept] == [7, 7, 7, 7]


@pytest.mark.parametrize(("decay", "groups"), [(0.0, 1), (0.1, 2)])
def test_one_optimizer_group_where_nothing_tells_two_apart(decay, groups, tmp_path):
    from transformers import TrainingArguments

    from helpers.core.caption_trainer import CaptionTrainer

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    arguments = TrainingArguments(tmp_path, weight_decay=decay, learning_rate=0.5, report_to="none", use_cpu=True)
    optimizer = CaptionTrainer(model=model, args=arguments).create_optimizer()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0][:groups]
    learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(learned) == 4 and {id(parameter) for parameter in learned} == {id(parameter) for parameter in model.parameters()}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model(torch.ones(2, 4)).pow(2).sum().backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_plan_is_its_highest_moment(large):
    one = plan(large, Setup("full", 2, gpus=1))
    assert one.total == max(sum(parts.values()) for parts in one.moments.values()) == sum(one.parts.values())
    assert set(one.parts) == set(PARTS) and one.parts["framework"] == CUDA_CONTEXT
    assert plan(large, Setup("full", 2, gpus=1, device="cpu")).parts["framework"] == 0


def test_buffers_are_those_of_the_configuration(large, tmp_path):
    assert kit_buffers(2, 1024).reduce == kit_buffers(3, 1024).reduce == 50_000_000
    settings = read_settings(FINETUNE / "ds_config_zero3_offload.json", 1024)
    assert (settings.stage, settings.offload, settings.buffers.reuse) == (3, "all", 1_000_000_000)
    automatic = {"stage": 3, "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}
    assert read_settings({"zero_optimization": automatic}, 100).buffers.reduce == 10_000
    assert read_settings({"zero_optimization": automatic}, 100).buffers.overlap  # DeepSpeed's own choice for stage 3
    with pytest.raises(InputError, match="There is no DeepSpeed configuration"):
        read_settings(tmp_path / "nowhere.json", 1)


def test_the_published_table_is_met_within_what_it_leaves_open():
    rows = {(row.plan.setup.strategy, row.plan.setup.gpus): row for row in published()}
    assert set(rows) == {(strategy, gpus) for strategy in ("lora", "full") for gpus in (2, 4, 8)}
    assert rows["lora", 2].measured == pytest.approx(14.4 * 2**30) and rows["full", 8].measured == pytest.approx(15.63 * 2**30)
    # Measured as they are, not fitted: LoRA within 10 %, full up to 13 % too low (see docs/measurements.md).
    assert all(abs(row.error) < 10 for (strategy, _), row in rows.items() if strategy == "lora")
    assert all(-15 < row.error < 0 for (strategy, _), row in rows.items() if strategy == "full")


def test_a_run_records_what_a_plan_is_held_against(student, tmp_path):
    run = launch("full", model=student, data=make_samples(tmp_path, 4), output_dir=tmp_path / "run", processes=2, micro_batch_size=2)
    record = run.memory
    assert record["device"] in ("cpu", "cuda") and len(record["peak"]) == len(record["base"]) == 2
    assert run.peak_memory == sum(record["resident"]) and all(peak > base >= 0 for peak, base in zip(record["peak"], record["base"]))
    assert record["batch"]["samples"] == 2 and record["batch"]["patches"] > 0
    comparison = measured(tmp_path / "run" / "run.json")
    assert comparison == measured(tmp_path / "run")
    assert comparison.plan.setup.zero == 2 and comparison.plan.setup.gpus == 2 and comparison.plan.setup.rank == 64
    assert comparison.error == pytest.approx(100 * (comparison.planned - comparison.measured) / comparison.measured)
    assert comparison.what == str(tmp_path / "run")  # the plan counts what was trained
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {"trained_parameters": facts["trained_parameters"] // 2}))
    assert f"(trained {facts['trained_parameters'] // 2 / 1e6:.4g} M parameters, planned for " in measured(tmp_path / "run").what
    del facts["memory"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="no memory of each rank"):
        measured(tmp_path / "run")


def test_weights_that_stay_in_their_file_count_once_they_are_read(tmp_path):
    """They are an adapter's base: private pages of the file, of which the process's own bytes say nothing."""
    from helpers.core.loading import load_weights

    process = psutil.Process()
    if not Path("/proc/self/smaps").is_file():
        pytest.skip("only Linux tells what a process has mapped")
    before = weights_in_file(process)
    model = load_weights(str(make_student(tmp_path / "student")), torch.float32)
    values = [parameter for parameter in model.parameters() if parameter.detach().sum() is not None]  # read
    size = sum(parameter.nbytes for parameter in values)
    assert weights_in_file(process) - before == pytest.approx(size, rel=0.05)
    with torch.no_grad():
        for parameter in values:
            parameter.add_(1)  # written: now pages of the process's own
    assert weights_in_file(process) - before < 0.1 * size


def test_where_getrusage_is_missing_psutil_knows_the_peak(monkeypatch):
    """As on Windows, where training ended with an ImportError before its result was written."""
    windows = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=123))
    assert resident_peak(windows) > 2**20
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resident_peak(windows) == 123


def test_a_frozen_part_does_not_keep_the_weights_file(tmp_path):
    import gc

    from helpers.core.model_building import build_model
    from helpers.core.training_options import LoraOptions, ModelArguments

    student = make_student(tmp_path / "student")
    model = build_model(ModelArguments(str(student)), LoraOptions(), "fp32")
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    assert frozen  # the vision tower's own merger, which this student never uses
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.empty(0)  # as DeepSpeed does, having copied it elsewhere
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("only Linux tells what a process has mapped")
    gc.collect()
    assert str(student) not in maps.read_text()


def test_what_is_fetched_in_one_go_is_there_twice_until_it_is_used(large):
    alone, two = (plan(large, Setup("lora", 3, gpus=gpus, precision="fp32")) for gpus in (1, 2))
    assert "fetching" not in alone.moments  # nobody to fetch from
    fetching, forward = two.moments["fetching"], two.moments["forward"]
    flat = 4 * kit_buffers(3, large.text.hidden).prefetch
    assert fetching["buffers"] == forward["buffers"] + flat and fetching["parameters"] == forward["parameters"]
    assert 0 < fetching["activations"] < forward["activations"]


def test_the_chart_stacks_the_parts(large):
    plans = [plan(large, Setup(strategy, 3, gpus=gpus)) for strategy in ("lora", "full") for gpus in (1, 8)]
    figure = memory_chart(plans, measured={0: 2**30}, limit=80)
    axes = figure.axes[0]
    for position, one in enumerate(plans):
        bars = [bar for bar in axes.patches if round(bar.get_x() + bar.get_width() / 2) == position]
        assert sum(bar.get_height() for bar in bars) == pytest.approx(one.total / 2**30)
    assert any("at update" in label.get_text() for label in axes.get_xticklabels())
    assert "8 GPUs" in axes.get_xticklabels()[1].get_text()
    processes = memory_chart([plan(large, Setup(gpus=2, precision="fp32", device="cpu"))]).axes[0]
    assert "2 processes" in processes.get_xticklabels()[0].get_text()  # a CPU's run has no GPUs
    with pytest.raises(InputError, match="no plan to draw"):
        memory_chart([])


def run(*words: object, columns: int = 200):
    """The command in this process, in a terminal of so many columns."""
    return CliRunner().invoke(cli.app, ["plan", *(str(word) for word in words)], env={"COLUMNS": str(columns)})


def headings(page: str) -> list[tuple[str, ...]]:
    """The headings of the plans' columns, line by line."""
    lines = [[cell.strip() for cell in line.strip("┃").split("┃")][1:] for line in page.split("The planner beside")[0].splitlines() if line.startswith("┃")]
    return list(zip(*lines))


def test_the_command_prints_plans_beside_measurements_and_draws(student, tmp_path):
    chart = tmp_path / "plan.png"
    result = run("--model", student, "--strategy", "full", "--zero", 3, "--offload", "all", "--gpus", "1,2", "--chart", chart)
    assert result.exit_code == 0, result.output
    assert headings(result.stdout) == [("full", "ZeRO 3", "offload", "all", "1 GPU"), ("full", "ZeRO 3", "offload", "all", "2 GPUs")]
    assert "15.63" in result.stdout and "14.40" in result.stdout
    assert chart.read_bytes().startswith(b"\x89PNG")
    configured = run("--model", student, "--deepspeed", FINETUNE / "ds_config_zero3_offload.json", "--gpus", 2).stdout
    assert headings(configured) == [(name, "ZeRO 3", "offload", "all", "2 GPUs") for name in ("LoRA", "full")]


def test_nothing_is_cut_off_in_a_terminal_of_eighty_columns(student):
    page = run("--model", student, "--zero", 2, "--offload", "optimizer", "--gpus", "1,2,4,8", columns=80).stdout
    assert "…" not in page and page.count("communication buffers") == 2  # eight plans, four beside each other
    assert all(len(line) <= 80 for line in page.split("Published:")[0].splitlines())


@pytest.mark.parametrize(("words", "sentence"), [
    (("--model", "nobody/Nothing-9"), "There is no model nobody/Nothing-9"),
    (("--zero", 0, "--offload", "optimizer"), "ZeRO 0 keeps everything on every GPU and cannot offload"),
    (("--zero", 2, "--offload", "all"), "choose zero 3 for offload all"),
    (("--zero", 1), "There is no zero 1: choose 0, 2, 3"),
    (("--strategy", "half"), "There is no strategy 'half'"),
    (("--gpus", "two"), "--gpus two is no list of numbers"),
    (("--gpus", "0"), "gpus is 0; it must be at least 1"),
    (("--sequence-length", 16), "leaves no room for words in 16"),
    (("--measured", "nowhere"), "no training run"),
    (("--deepspeed", "nowhere.json"), "There is no DeepSpeed configuration nowhere.json"),
    (("--chart", "plan.nonsense"), "cannot be written to plan.nonsense"),
])
def test_faults_are_one_sentence(words, sentence, student, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*(() if "--model" in words else ("--model", student)), *words)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ") and sentence in result.stderr


@pytest.mark.parametrize(("content", "sentence"), [
    ("{", "is no JSON"),
    ("{}", "has no model_type"),
    ('{"model_type": "qwen3", "hidden_size": 64}', "has no text_config and vision_config"),
    ('{"model_type": "no_such", "text_config": {"a": 1}, "vision_config": {"a": 1}}', "makes no image-text model"),
])
def test_a_configuration_without_a_size_is_named(content, sentence, tmp_path):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        plan_memory(str(tmp_path), [Setup()])
