"""Parts of models, what learns, and what is never run or opened unasked: each family, from a small random configuration."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from helpers.core.errors import InputError
from helpers.core.loading import load_processor, load_weights
from helpers.core.model_building import build_model, digest_learning, plain_name
from helpers.core.model_parts import IDLE, find_parts, largest_modules
from helpers.core.training_options import LoraOptions, ModelArguments
from tests.small_families import FAMILIES, build_family


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    torch.set_num_threads(1)
    return build_family(request.param, tmp_path_factory.mktemp("building") / request.param)


def learning(model) -> set[str]:
    """The names of what learns, as the bare model has them."""
    return {plain_name(name) for name, parameter in model.named_parameters() if parameter.requires_grad}


def names_of(model, *wanted) -> set[str]:
    """The names of the parameters of some parts."""
    parts = find_parts(model)
    return {name for name, _ in model.named_parameters() if parts.of(name) in wanted}


def test_every_parameter_has_a_part_and_the_largest_modules_hold_them_all(folder):
    model = load_weights(str(folder), torch.float32)
    parts = find_parts(model)
    assert {parts.of(name) for name, _ in model.named_parameters()} - {IDLE} == {"vision", "merger", "language"}
    for part in ("vision", "merger"):
        modules = largest_modules(model, parts, part)
        held = [f"{module}.{name}" for module in modules for name, _ in model.get_submodule(module).named_parameters()]
        assert sorted(held) == sorted(names_of(model, part))


@pytest.mark.parametrize("options, expected", [
    ({}, ("vision", "merger", "language")), ({"tune_vision": False}, ("merger", "language")), ({"tune_llm": False}, ("vision", "merger")),
    ({"tune_merger": False, "tune_vision": False}, ("language",)),
])
def test_full_fine_tuning_trains_the_parts_that_were_asked_for(folder, options, expected):
    model = build_model(ModelArguments(str(folder), **options), LoraOptions(), "fp32")
    assert learning(model) == names_of(model, *expected)


@pytest.mark.parametrize("options, beside", [({}, ("vision", "merger")), ({"tune_vision": False}, ("merger",)),
                                             ({"tune_merger": False, "tune_vision": False}, ())])
def test_lora_trains_the_adapter_in_the_language_models_attention_and_whole_parts_beside_it(folder, options, beside):
    lora = LoraOptions(use_lora=True, lora_r=4)
    model = build_model(ModelArguments(str(folder), **options), lora, "bf16")
    bare = load_weights(str(folder), torch.float32)
    adapters = {name for name in learning(model) if "lora_" in name}
    # q, k, v, o of both layers, an A and a B each
    assert len(adapters) == 2 * 4 * 2 and all("layers." in name and ".self_attn." in name for name in adapters)
    assert all(find_parts(bare).of(name) == "language" for name in adapters)
    assert learning(model) - adapters == names_of(bare, *beside)
    # what learns is held in fp32; what does not, in what is computed in
    assert {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()} == {(True, torch.float32), (False, torch.bfloat16)}


def test_freeze_leaves_what_it_names_and_says_when_it_names_nothing(folder):
    for lora in (LoraOptions(), LoraOptions(use_lora=True, lora_r=4)):
        plain = learning(build_model(ModelArguments(str(folder)), lora, "fp32"))
        frozen = learning(build_model(ModelArguments(str(folder), freeze=r"layers\.0\."), lora, "fp32"))
        assert frozen == {name for name in plain if "layers.0." not in name} < plain
    for pattern, words in ((r"layers\.77", "in no parameter's name"), ("(", "no regular expression"), (".", "Nothing would learn")):
        with pytest.raises(InputError, match=words):
            build_model(ModelArguments(str(folder), freeze=pattern), LoraOptions(), "fp32")
    with pytest.raises(InputError, match="lora_target_modules fits no layer"):
        build_model(ModelArguments(str(folder)), LoraOptions(use_lora=True, lora_target_modules=".*nowhere"), "fp32")


def test_checkpoints_can_be_continued_only_where_the_same_learns(folder):
    def digest(**options):
        return digest_learning(build_model(ModelArguments(str(folder), **options), LoraOptions(), "fp32"))

    assert digest() == digest() != digest(tune_vision=False)


class Odd(torch.nn.Module):
    """A model whose parts have names that no class of transformers uses."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace()
        self.eye, self.mouth = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)


def test_an_unknown_model_is_told_which_options_to_give_and_they_work():
    with pytest.raises(InputError, match="Odd has no modules known as its vision or language part.*--vision_modules PATTERN and "
                                         "--language_modules PATTERN; its branches are eye.bias, eye.weight, mouth") as caught:
        find_parts(Odd())
    assert "\n" not in str(caught.value)
    parts = find_parts(Odd(), {"vision": "^eye", "language": "^mouth", "merger": None})
    assert [parts.of(name) for name in ("eye.weight", "mouth.weight", "nose")] == ["vision", "language", None]
    assert largest_modules(Odd(), parts, "vision") == ["eye"]


def test_weights_that_are_a_pickle_are_not_opened(tmp_path):
    folder = build_family("smolvlm", tmp_path / "model")
    torch.save(load_weights(str(folder), torch.float32).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has its weights only as .bin") as caught:
        load_weights(str(folder), torch.float32)
    assert "\n" not in str(caught.value)


def test_a_models_own_code_runs_only_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = build_family("smolvlm", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "smolvlm_of_theirs", "auto_map": {
        "AutoConfig": "theirs.TheirConfig", "AutoModelForImageTextToText": "theirs.TheirModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (folder / "theirs.py").write_text(
        "from pathlib import Path\nfrom transformers import SmolVLMConfig, SmolVLMForConditionalGeneration\n"
        f"Path({str(ran)!r}).touch()\n"
        "class TheirConfig(SmolVLMConfig):\n    model_type = 'smolvlm_of_theirs'\n"
        "class TheirModel(SmolVLMForConditionalGeneration):\n    config_class = TheirConfig\n")
    with pytest.raises(InputError, match="brings Python code of its own.*--trust_remote_code true"):
        load_weights(str(folder), torch.float32)
    assert not ran.exists()
    assert type(load_weights(str(folder), torch.float32, trust_remote_code=True)).__name__ == "TheirModel" and ran.exists()


def test_a_model_that_cannot_be_asked_is_refused(tmp_path):
    folder = build_family("idefics3", tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="has no chat template"):
        load_processor(str(folder))
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_processor(str(folder))
