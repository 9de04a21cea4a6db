"""benchmarks/gpu_training.py on a CPU: a small model from a configuration of the large one's kind, trained, timed, held against its plan."""

import argparse
import copy

import pytest

from benchmarks import gpu_training
from helpers.core.model_sizes import load_sizes, read_size
from helpers.core.runs import read_json
from tests.small_student import make_samples

LARGE = "openbmb/MiniCPM-V-4.6"


@pytest.fixture
def shrunk(monkeypatch):
    """The shipped configuration of the large model, with few and narrow layers of the same kinds."""
    sizes = copy.deepcopy(load_sizes())
    config = sizes["models"][LARGE]["config"]
    config["text_config"] |= dict(vocab_size=4096, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=2,
                                  num_key_value_heads=1, head_dim=32, linear_num_key_heads=2, linear_num_value_heads=2,
                                  linear_key_head_dim=32, linear_value_head_dim=32)
    config["vision_config"] |= dict(hidden_size=64, intermediate_size=128, num_hidden_layers=8, num_attention_heads=2)
    monkeypatch.setattr(gpu_training, "load_sizes", lambda: sizes)


def test_a_model_from_its_configuration_is_trained_and_measured(shrunk, tmp_path):
    model = gpu_training.random_model(LARGE, tmp_path / "model", "float32")
    options = argparse.Namespace(out=tmp_path, processes=1, batch=1, max_length=2048, steps=4, peak_tflops=1.0)
    size = read_size(model)
    figure, comparison = gpu_training.measure("lora-2", model, size, make_samples(tmp_path, 4), options)
    assert figure["batch"]["samples"] == 1 and figure["batch"]["patches"] >= 900 and figure["batch"]["tokens"] > 64
    assert figure["tokens_a_second"] == pytest.approx(figure["batch"]["tokens"] / figure["seconds_a_step"])
    flops = gpu_training.step_flops(size, "lora", figure["batch"]["tokens"], figure["batch"]["patches"])
    assert figure["mfu"] == pytest.approx(flops / figure["seconds_a_step"] / 1e12)
    assert comparison.plan.setup.strategy == "lora" and comparison.plan.setup.checkpointing and figure["peak_bytes"] > 0


def test_flops_are_six_a_parameter_and_token_where_all_learns(tmp_path):
    size = read_size(LARGE)
    words = gpu_training.step_flops(size, "full", 1000, 0)
    assert words == 6 * 1000 * (size.text_parameters + size.merger_parameters)
    assert gpu_training.step_flops(size, "lora", 1000, 0) == words - 2 * 1000 * size.text_parameters
    assert gpu_training.step_flops(size, "full", 1000, 1024) > words


@pytest.mark.parametrize(("stage", "offload", "devices"), [
    (2, "none", (None, None)), (2, "optimizer", ("cpu", None)), (3, "none", (None, None)), (3, "all", ("cpu", "cpu"))])
def test_configurations_offload_what_they_say(stage, offload, devices, tmp_path):
    zero = read_json(gpu_training.configuration(stage, offload, tmp_path))["zero_optimization"]
    assert zero["stage"] == stage
    assert tuple((zero.get(part) or {}).get("device") for part in ("offload_optimizer", "offload_param")) == devices
