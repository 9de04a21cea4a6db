"""Times the phases of a training step inside transformers' Trainer, whoever starts it: ours and TRL's alike (benchmarks/training.py).

    watch(record) → every Trainer of the process writes RECORD-RANK.json when its training ends:
    {"trained", "frozen": names, "supervised": tokens of each batch, "padded", "epochs": [{"steps", "seconds", "cpu"}], "seconds": by phase,
     "losses"}

What runs inside another phase is taken out of it (DeepSpeed steps inside `backward`), and on a CPU nothing is asynchronous.
"""

import json
import os
import time
from collections import defaultdict
from pathlib import Path

WARM_UP = 2  # steps that are not counted: kernels are chosen, buffers made


class Stopwatch:
    """Seconds by phase, each second in one phase only: a phase inside another stops the outer one's clock."""

    def __init__(self, clock=time.perf_counter):
        self.clock = clock
        self.reset()

    def reset(self) -> None:
        """Start at zero, in no phase but "other"."""
        self.seconds, self.stack, self.last = defaultdict(float), ["other"], self.clock()

    def _charge(self) -> None:
        now = self.clock()
        self.seconds[self.stack[-1]] += now - self.last
        self.last = now

    def enter(self, phase: str) -> None:
        """From now on `phase` runs."""
        self._charge()
        self.stack.append(phase)

    def leave(self) -> None:
        """The phase has ended; the one around it goes on."""
        self._charge()
        self.stack.pop()

    def around(self, function, phase: str):
        """`function`, timed as `phase`."""
        def timed(*args, **kwargs):
            self.enter(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()
        return timed


def watch(record: Path) -> None:
    """Make every Trainer of this process time its phases and write what it found to `record` when training ends."""
    from transformers import Trainer, TrainerCallback

    stopwatch, start = Stopwatch(), Trainer.train

    class Watcher(TrainerCallback):
        def __init__(self, trainer):
            parameters = list(trainer.model.named_parameters())
            self.found = {
                "trained": sum(getattr(p, "ds_numel", p.numel()) for _, p in parameters if p.requires_grad),
                "frozen": [name for name, p in parameters if not p.requires_grad], "supervised": [], "padded": 0, "epochs": [],
            }

        def mark(self, state) -> tuple:
            return state.global_step, time.perf_counter(), time.process_time()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == WARM_UP:
                stopwatch.reset()
                self.first = self.last = self.mark(state)

        def on_epoch_end(self, args, state, control, **kwargs):
            now = self.mark(state)
            self.found["epochs"].append({"steps": now[0] - self.last[0], "seconds": now[1] - self.last[1], "cpu": now[2] - self.last[2]})
            self.last = now

        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            stopwatch.enter("optimizer")

        def on_optimizer_step(self, args, state, control, **kwargs):
            stopwatch.leave()

        def on_train_end(self, args, state, control, **kwargs):
            stopwatch.enter("other")
            stopwatch.leave()
            self.found["seconds"] = dict(stopwatch.seconds)
            self.found["losses"] = [line["loss"] for line in state.log_history if "loss" in line]
            record.with_name(f"{record.name}-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(self.found), encoding="utf-8")

    def train(self, *args, **kwargs):
        watcher = Watcher(self)

        def counted(model, inputs, *rest, compute=self.compute_loss, **named):
            watcher.found["supervised"].append(int((inputs["labels"] != -100).sum()))
            watcher.found["padded"] += inputs["input_ids"].numel()
            return compute(model, inputs, *rest, **named)

        self.compute_loss = stopwatch.around(counted, "forward")
        for owner, name, phase in ((self, "get_batch_samples", "data"), (self, "_prepare_inputs", "data"),
                                   (self, "_clip_grad_norm", "optimizer"), (self.accelerator, "backward", "backward")):
            setattr(owner, name, stopwatch.around(getattr(owner, name), phase))
        if self.is_deepspeed_enabled:
            from deepspeed import DeepSpeedEngine

            DeepSpeedEngine.step = stopwatch.around(DeepSpeedEngine.step, "optimizer")
        self.add_callback(watcher)
        return start(self, *args, **kwargs)

    Trainer.train = train
