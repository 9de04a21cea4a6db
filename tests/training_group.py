"""Several fine-tuning runs in one group of processes, as torchrun starts it: what they share is only the start-up.

    torchrun --nproc-per-node 2 tests/training_group.py jobs.json

jobs.json: [[finetune.py's words …], …]. After each run its model, as it is in memory when training ends, goes to
OUTPUT_DIR/in_memory.pt: {"state": every tensor by name, "trainable": names, "logits": of the batch in OUTPUT_DIR/../batch.pt},
where there is such a batch.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import Trainer

from finetune import finetune


def look_inside(trainer: Trainer) -> dict:
    """What the model of `trainer` holds and answers now; with ZeRO-3 the tensors are put together first."""
    model = trainer.model
    parameters = list(model.parameters())
    gathered = contextlib.nullcontext()
    if any(hasattr(parameter, "ds_id") for parameter in parameters):
        import deepspeed

        gathered = deepspeed.zero.GatheredParameters(parameters)
    with gathered:
        state = {name: tensor.detach().float().clone() for name, tensor in model.named_parameters()}
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    batch = torch.load(Path(trainer.args.output_dir).parent / "batch.pt")
    trainer.model_wrapped.eval()
    with torch.no_grad():
        logits = trainer.model_wrapped(**batch).logits.clone()
    return {"state": state, "trainable": trainable, "logits": logits}


def keep_what_was_trained() -> None:
    """Let every Trainer write down its model at the end of training."""
    train = Trainer.train

    def train_and_look(self, *args, **kwargs):
        result = train(self, *args, **kwargs)
        folder = Path(self.args.output_dir)
        if (folder.parent / "batch.pt").exists():
            inside = look_inside(self)
            if self.is_world_process_zero():
                torch.save(inside, folder / "in_memory.pt")
        return result

    Trainer.train = train_and_look


def forget() -> None:
    """Undo what a run leaves in the libraries' global state, so that the next one starts as if alone."""
    from accelerate.state import AcceleratorState, GradientState
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    unset_hf_deepspeed_config()


def main() -> None:
    keep_what_was_trained()
    torch.set_num_threads(1)
    for words in json.loads(Path(sys.argv[1]).read_text()):
        environment = dict(os.environ)
        finetune.train(words)
        os.environ.clear()
        os.environ.update(environment)
        forget()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
