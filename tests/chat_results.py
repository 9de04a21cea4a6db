"""For tests of the chat: what a course leaves behind, with an adapter of random weights in the place of a trained one."""

import json
from pathlib import Path

import torch

from helpers.core.paths import STUDENT
from helpers.core.student import load_student


def make_results(folder: Path) -> Path:
    """Write `folder`/lora/model, an adapter that changes the tiny student's words and its eyes; returns `folder`."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    adapted = get_peft_model(load_student(STUDENT, device="cpu").model,
                             LoraConfig(r=4, target_modules=["q_proj", "o_proj"], modules_to_save=["vision_tower.post_layernorm"], init_lora_weights=False))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter))
    model = folder / "lora" / "model"
    adapted.save_pretrained(model)
    run = {"strategy": "lora", "model": str(STUDENT), "seconds": 1.0, "steps": 1, "samples_per_second": 1.0, "peak_memory": 1}
    (model / "run.json").write_text(json.dumps(run))
    (model / "settings.json").write_text("{}")
    return folder
