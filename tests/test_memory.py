"""The memory planner: sizes counted from shapes, formulae against what autograd and DeepSpeed do, published and measured runs, faults."""

import json
import weakref

import pytest
import torch
from safetensors import safe_open
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM
from typer.testing import CliRunner

from helpers import cli
from helpers.core import activations
from helpers.core.deepspeed_buffers import kit_buffers, read_settings
from helpers.core.errors import InputError
from helpers.core.memory import CUDA_CONTEXT, PARTS, Setup, largest_picture, plan
from helpers.core.memory_figure import memory_chart
from helpers.core.memory_report import measured, published
from helpers.core.model_sizes import ADAPTED, Text, Vision, build_on_meta, load_sizes, read_size
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


def autograd_bytes(config: AutoConfig, dtype: torch.dtype, tokens: int) -> int:
    """Bytes of all tensors, each storage once, that autograd saves in a forward pass beside the parameters."""
    model = AutoModelForCausalLM.from_config(config).to(dtype).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    found, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    assert output.logits.requires_grad
    return sum(found.values())


def layer_config(kind: str, layers: int):
    """A small language model whose layers are all of one kind."""
    common = dict(vocab_size=32, hidden_size=128, intermediate_size=320, num_hidden_layers=layers)
    if kind == "llama":
        return AutoConfig.for_model("llama", num_attention_heads=4, num_key_value_heads=4, **common)
    if kind == "qwen3":
        return AutoConfig.for_model("qwen3", num_attention_heads=4, num_key_value_heads=2, head_dim=48, tie_word_embeddings=True, **common)
    return AutoConfig.for_model(
        "qwen3_5_text", num_attention_heads=2, num_key_value_heads=1, head_dim=64, linear_num_key_heads=2, linear_num_value_heads=2,
        linear_key_head_dim=128, linear_value_head_dim=128, tie_word_embeddings=True, layer_types=[kind] * layers, **common)


@pytest.mark.parametrize(("wide", "dtype"), [(4, torch.float32), (2, torch.bfloat16)])
@pytest.mark.parametrize(("kind", "text"), [
    ("llama", Text(2, 128, 320, 128, 128, 32)),
    ("qwen3", Text(2, 128, 320, 192, 96, 32, normed_heads=True)),
    ("full_attention", Text(2, 128, 320, 128, 64, 32, normed_heads=True, gated=True)),
    ("linear_attention", Text(2, 128, 320, 128, 64, 32, linear=2, linear_value=256)),
])
def test_a_layer_saves_what_the_formula_says(kind, text, wide, dtype):
    tokens = 128
    saved = (autograd_bytes(layer_config(kind, 3), dtype, tokens) - autograd_bytes(layer_config(kind, 1), dtype, tokens)) / 2
    assert activations.text_layer(text, wide, kind == "linear_attention") * tokens == pytest.approx(saved, rel=0.07)


def test_a_vision_layer_saves_what_the_formula_says(student):
    from transformers import AutoModelForImageTextToText

    tower = AutoModelForImageTextToText.from_pretrained(student, dtype=torch.float32).model.vision_tower.train()
    patches, sizes, known = 64, [], {p.untyped_storage().data_ptr() for p in tower.parameters()}
    for layers in (len(tower.encoder.layers), 1):
        tower.encoder.layers = tower.encoder.layers[:layers]
        found, alive = {}, []

        def pack(tensor, found=found, alive=alive):
            if tensor.untyped_storage().data_ptr() not in known:
                found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                alive.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            tower(torch.zeros(1, 3, 14, 14 * patches), target_sizes=torch.tensor([[8, 8]], dtype=torch.int32), use_vit_merger=False)
        sizes.append(sum(found.values()))
    vision = read_size(student).vision
    assert activations.vision_layer(vision, 4) * patches * (vision.layers - 1) == pytest.approx(sizes[0] - sizes[1], rel=0.05)


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


@pytest.mark.parametrize(("wide", "dtype"), [(4, torch.float32), (2, torch.bfloat16)])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "smolvlm"])
def test_other_towers_save_what_the_formula_says(family, wide, dtype):
    from transformers import AutoConfig, AutoModel

    def saved(layers: int) -> int:
        if family == "qwen2_5_vl":
            vision = AutoConfig.for_model("qwen2_5_vl", vision_config=dict(depth=layers, hidden_size=64, intermediate_size=192, num_heads=2,
                                                                           out_hidden_size=32, fullatt_block_indexes=[0])).vision_config
            given = (torch.zeros(256, 3 * 2 * 14 * 14, dtype=dtype), torch.tensor([[1, 16, 16]]))
        else:
            vision = AutoConfig.for_model("smolvlm", vision_config=dict(num_hidden_layers=layers, hidden_size=64, intermediate_size=192,
                                                                        num_attention_heads=2, image_size=128, patch_size=16)).vision_config
            given = (torch.zeros(4, 3, 128, 128, dtype=dtype),)
        tower = AutoModel.from_config(vision).to(dtype).train()
        known, found, alive = {t.untyped_storage().data_ptr() for t in [*tower.parameters(), *tower.buffers()]}, {}, []

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() not in known:
                found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                alive.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            tower(*given)
        return sum(found.values())

    shape = dict(qwen2_5_vl=dict(fused=True, gated=True, inner=4), smolvlm=dict(joins_views=False))[family]
    assert activations.vision_layer(Vision(1, 64, 192, **shape), wide) * 256 == pytest.approx((saved(3) - saved(1)) / 2, rel=0.07)


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors made inside (not those of `before`) that are alive, and their maximum."""

    def __init__(self, *before):
        super().__init__()
        self.now, self.most, self.known = 0, 0, {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.drop, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return result

    def drop(self, key, size):
        """A tensor's memory was given back."""
        self.known.discard(key)
        self.now -= size


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
    # Measured as they are, not fitted: LoRA within 10 %, full up to 13 % too low (see the README).
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
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    del facts["memory"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="no memory of each rank"):
        measured(tmp_path / "run")


def test_a_frozen_part_does_not_keep_the_weights_file(tmp_path):
    import gc
    from pathlib import Path

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


def test_the_loss_takes_what_the_formula_says():
    from transformers.loss.loss_utils import ForCausalLMLoss

    words, tokens = 1000, 64
    for dtype in (torch.float32, torch.bfloat16):
        logits = torch.zeros(1, tokens, words, dtype=dtype, requires_grad=True)
        labels = torch.ones(1, tokens, dtype=torch.long)
        with Live(logits) as live:
            ForCausalLMLoss(logits, labels, words).backward()
        assert live.most == pytest.approx(activations.LOSS * tokens * words, rel=0.05)
