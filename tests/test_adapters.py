"""Adapters opened up, and a training sample shown token by token: the numbers are those of the files and of the encoding."""

import json
import re

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from helpers.core.adapters import read_adapter, trained_by_part
from helpers.core.conversations import read_conversations
from helpers.core.encoding import IGNORED, encode_sample
from helpers.core.errors import InputError
from helpers.core.images import open_image
from helpers.core.lora_figures import lora_drawing, singular_values_figure
from helpers.core.model_sizes import read_size
from helpers.core.token_view import sample_html, token_spans
from tests.small_student import make_samples, make_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A student, samples, and a LoRA adapter with random B that PEFT itself has written."""
    folder = tmp_path_factory.mktemp("adapters")
    make_student(folder / "student")
    make_samples(folder)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(folder / "student")
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model\.layers\.\d+\.self_attn\.[qv]_proj",
                                             modules_to_save=["model.merger"], task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder / "adapter")
    before = AutoModelForImageTextToText.from_pretrained(folder / "student").state_dict()
    after = model.merge_and_unload().state_dict()
    name = "model.language_model.layers.1.self_attn.q_proj.weight"
    np.save(folder / "difference.npy", (after[name] - before[name]).numpy())
    return folder


def test_an_adapter_is_what_peft_adds(folder):
    adapter = read_adapter(folder / "adapter")
    layer = adapter.layers["language_model.layers.1.self_attn.q_proj"]
    assert layer.rank == 4 and layer.scale == 2.0 and len(adapter.layers) == 4
    np.testing.assert_allclose(layer.update(), np.load(folder / "difference.npy"), atol=1e-6)
    strengths = layer.singular_values()
    assert strengths[3] > 1e-3 > 1e-5 > strengths[4]  # as many directions as the rank
    assert layer.numbers == 4 * sum(layer.update().shape) and layer.full_numbers == layer.update().size
    merger = sum(p.numel() for p in AutoModelForImageTextToText.from_pretrained(folder / "student").model.merger.parameters())
    assert adapter.numbers == {"A and B": sum(one.numbers for one in adapter.layers.values()), "vision": 0, "merger": merger}
    assert adapter.bytes > 4 * sum(adapter.numbers.values())


def test_what_is_no_adapter_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="holds no LoRA adapter"):
        read_adapter(folder / "student")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 1}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="is damaged"):
        read_adapter(tmp_path)
    save_file({"x": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    assert read_adapter(tmp_path).saved == {"x": 2}


def test_trained_numbers_by_part_add_up(folder):
    size = read_size(folder / "student")
    *parts, total = trained_by_part(size, rank=8)
    model = AutoModelForImageTextToText.from_pretrained(folder / "student")
    assert total[1] == sum(parameter.numel() for parameter in model.parameters()) == sum(part[1] for part in parts)
    widths = sum(sum(module.weight.shape) for name, module in model.named_modules() if re.search(r"language_model.*self_attn\.[qkvo]_proj$", name))
    assert parts[0][3] == 8 * widths
    frozen = trained_by_part(size, 8, tune_vision=False)
    assert frozen[1][2:] == (0, 0) and frozen[-1][3] == total[3] - size.vision_parameters


def test_drawings_show_the_sizes_they_are_given():
    texts = [text.get_text() for text in lora_drawing(200, 100, 10).axes[0].texts]
    assert "200 × 10\n2,000\ntrained" in texts and "10 × 100\n1,000\ntrained" in texts and "200 × 100\n20,000\nfrozen" in texts
    with pytest.raises(InputError, match="at least 1"):
        lora_drawing(4, 4, 0)
    axes = singular_values_figure({"layer": [3.0, 2.0, 1e-9, 0.0]}, 2).axes[0]
    assert list(axes.get_lines()[0].get_ydata()) == [3.0, 2.0, 1e-9] and list(axes.get_lines()[1].get_xdata()) == [2.5, 2.5]
    with pytest.raises(InputError, match="at least one layer"):
        singular_values_figure({}, 2)


def test_tokens_are_shown_as_they_are_trained_on(folder):
    processor = AutoProcessor.from_pretrained(folder / "student")
    for sample in read_conversations(folder / "train.json"):
        encoded = encode_sample(processor, open_image(sample.path), sample.turns, 512)
        spans = token_spans(processor.tokenizer, encoded["input_ids"], encoded["labels"])
        learned = encoded["labels"] != IGNORED
        assert sum(count for _, _, count in spans) == len(learned)
        assert sum(count for _, supervised, count in spans if supervised) == int(learned.sum())
        assert "".join(text for text, supervised, _ in spans if supervised).removesuffix("<|im_end|>") == sample.answer
        pictures = [count for text, _, count in spans if text == "<|image_pad|>"]
        assert pictures == [int((encoded["input_ids"] == processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum())]
        page = sample_html(processor, sample, 512)
        assert page.count("<b style") == sum(supervised for _, supervised, _ in spans) + 1  # and the legend's
        assert f"learned</b> {int(learned.sum())} tokens" in page and "<|im_end|>" not in page  # escaped
