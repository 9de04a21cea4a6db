"""transformers' Trainer with what makes its numbers mean the same however a run is cut into processes.

    losses       of a step: the mean over the answer tokens of all its samples, of all processes and accumulated batches
                 (transformers counts them together); of an evaluation: the mean over the answer tokens of the whole file
    the order    of LengthSampler, the same for any number of processes
    no number    a loss that is none stops the run at its step, before the weights are changed or saved

Data: Conversations → batches of `collate` → the model's loss. This module imports torch; only training programs import it.
"""

import torch
from transformers import Trainer

from helpers.core.batches import LengthSampler
from helpers.core.encoding import IGNORED
from helpers.core.errors import TrainingError

REMEDY = ("start again with a smaller --learning_rate (or --bf16 true instead of --fp16 true); a loss that is none from the first step on "
          "means that the model's weights are damaged")


def token_mean(prediction) -> dict[str, float]:
    """The evaluation loss, from each sample's (summed loss, answer tokens) as `prediction_step` returns them."""
    return {"eval_loss": float(prediction.predictions.sum(dtype="float64") / prediction.label_ids.sum())}


def all_finite(model) -> bool:
    """Whether every number in what `model` trains is one; asks all processes, and is answered alike in each."""
    # ZeRO-3 keeps a parameter's own share beside it.
    finite = all(bool(torch.isfinite(getattr(p, "ds_tensor", p).detach()).all()) for p in model.parameters() if p.requires_grad)
    if torch.distributed.is_initialized():
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        votes = torch.tensor(int(finite), device=device)
        torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MIN)
        finite = bool(votes.item())
    return finite


class CaptionTrainer(Trainer):
    """A Trainer whose losses are means over answer tokens. Set `sampler` before training."""

    sampler: LengthSampler

    def __init__(self, **options):
        options["args"].logging_nan_inf_filter = False  # it would show the mean of earlier losses instead
        super().__init__(compute_metrics=token_mean, **options)

    def _get_train_sampler(self, train_dataset=None):
        return self.sampler

    def training_step(self, model, inputs, num_items_in_batch=None):
        """One forward and backward pass. Raises TrainingError for a loss that is no number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise TrainingError(f"The loss at step {self.state.global_step + 1} is {loss.item()}, no number to learn from; "
                                f"the last checkpoint is kept: {REMEDY}.")
        return loss

    def _save_checkpoint(self, model, trial):
        if not all_finite(self.model):
            raise TrainingError(f"The weights after step {self.state.global_step} are no numbers any more, so they are not saved; "
                                f"the last checkpoint is kept: {REMEDY}.")
        super()._save_checkpoint(model, trial)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns (None, each sample's summed loss [batch], its number of answer tokens [batch])."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")[:, 1:]
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**inputs).logits[:, :-1]
            per_token = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
        return None, per_token.sum(dim=1), labels.ne(IGNORED).sum(dim=1)
