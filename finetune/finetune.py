"""Fine-tune a model on pictures and answers: LoRA or all parameters, one process or many, CPU or GPU.

    --model_name_or_path   any image-text model of transformers whose processor has a chat template     loading.py, model_building.py
    --data_path            conversations → every sample checked → encoded one by one when first needed  training_data.py, encoding.py
    batches of like length, of whose tokens only the answers' carry loss                                batches.py
    transformers' Trainer                                                                               caption_trainer.py
    under DeepSpeed, when `--deepspeed` names a configuration and it can be used here                   deepspeed_start.py
    several machines agree on settings and folder before the first step                                 machines.py
    --output_dir           progress, checkpoints, the result                                            run_folder.py, runs.py

The files named on the right lie in helpers/core/. Started by finetune_lora.sh and finetune_ds.sh through start.py,
which is torchrun, or by hand:

    torchrun --nproc-per-node 2 finetune/finetune.py --model_name_or_path … --data_path train.json --output_dir output …

Started again with the same settings, it continues from its last complete checkpoint and ends with the same weights; a finished
run is left as it is; with other settings it starts afresh.
"""

import hashlib
import importlib.util
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository, when `helpers` is not installed

from helpers.core import deepspeed_start, machines, runs
from helpers.core.errors import CaptionLabError, InputError, ResourceError, TrainingError, is_disk_full
from helpers.core.processes import die_with_parents

if __name__ == "__main__":
    die_with_parents()  # before anything slow
    import torch

    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"  # read by DeepSpeed when it is imported
    deepspeed_start.why_not()  # before transformers looks for it

import torch
from transformers import TrainingArguments

from helpers.core.batches import LengthSampler
from helpers.core.caption_trainer import CaptionTrainer
from helpers.core.encoding import collate
from helpers.core.footprint import Footprint
from helpers.core.loading import load_processor
from helpers.core.model_building import build_model, count_learning, count_saved, digest_learning
from helpers.core.ranks import gather, rank, say, world
from helpers.core.run_folder import (
    EVENTS,
    RunFolder,
    best_checkpoint,
    check_learning,
    check_room,
    checkpoint_bytes,
    prepare_folder,
    save_result,
    settings_of,
    sharding_of,
)
from helpers.core.training_data import load_data
from helpers.core.training_options import PRECISIONS, DataArguments, LoraOptions, ModelArguments, read_options

# How gloo and NCCL say that the process at the other end is no more.
PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited", "gloo/transport")


@dataclass
class Arguments(TrainingArguments):
    """transformers' training arguments with this course's defaults; the device decides about precision and offloading."""

    logging_steps: float = 1
    save_strategy: str = "epoch"
    eval_strategy: str = "epoch"
    per_device_train_batch_size: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup_steps: float = 0.05  # a number below 1 is a share of all steps
    lr_scheduler_type: str = "cosine"
    optim: str = "adamw_torch"
    report_to: str = "none"
    disable_tqdm: bool = True
    remove_unused_columns: bool = False
    precision: str = field(default="auto", metadata={
        "help": "what is computed in: fp32, bf16, fp16, or auto: fp32 on a CPU, bf16 on GPUs that have it, else fp16"})
    keep_checkpoints: bool = field(default=False, metadata={"help": "keep the last checkpoint after the run has finished"})

    def __post_init__(self) -> None:
        on_cpu = self.use_cpu or not torch.cuda.is_available()
        if on_cpu:
            self.use_cpu, self.dataloader_pin_memory = True, False
            self.ddp_backend = "gloo" if "RANK" in os.environ else None  # for one process there is nothing to join
        self.precision = choose_precision(self.precision, self.bf16, self.fp16, on_cpu)
        self.bf16, self.fp16 = self.precision == "bf16", self.precision == "fp16"
        if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
            self.gradient_checkpointing_kwargs = {"use_reentrant": False}
        self.label_names, self.prediction_loss_only, self.save_total_limit = ["labels"], True, None
        if self.load_best_model_at_end and (self.save_strategy != self.eval_strategy or self.save_strategy == "no"):
            raise InputError("--load_best_model_at_end needs a checkpoint at every evaluation: set --save_strategy and --eval_strategy "
                             "to the same, epoch or steps.")
        self.deepspeed = prepare_deepspeed(self.deepspeed, on_cpu) if self.deepspeed else None
        super().__post_init__()
        # The best weights are taken from their checkpoint's files in the end (`save_result`); the Trainer need only know the best.
        self.keep_best, self.load_best_model_at_end = self.load_best_model_at_end, False


def choose_precision(asked: str, bf16: bool, fp16: bool, on_cpu: bool) -> str:
    """fp32, bf16 or fp16: what was `asked` for (with --precision, or transformers' --bf16, --fp16), or else suits the device."""
    if asked not in PRECISIONS:
        raise InputError(f"--precision {asked} is unknown; choose one of {', '.join(PRECISIONS)}.")
    if asked == "auto":
        asked = "bf16" if bf16 else "fp16" if fp16 else "auto"
    elif asked != "bf16" and bf16 or asked != "fp16" and fp16:
        raise InputError(f"--precision {asked} contradicts --{'bf16' if bf16 else 'fp16'} true; leave one of them out.")
    can_bf16 = on_cpu or torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "auto":
        return "fp32" if on_cpu else "bf16" if can_bf16 else "fp16"
    if asked == "fp16" and on_cpu:
        raise InputError("fp16 needs a GPU; on a CPU choose --precision bf16 or fp32.")
    if asked == "bf16" and not can_bf16:
        raise InputError("This GPU has no bfloat16; choose --precision fp16 or fp32.")
    return asked


def prepare_deepspeed(config_path: str, on_cpu: bool) -> dict | None:
    """Read a DeepSpeed configuration and join the processes; None, said aloud, where DeepSpeed cannot be used or is not needed."""
    config, changed = deepspeed_start.read_config(Path(config_path), on_cpu)
    reason = deepspeed_start.why_not()
    if reason:
        say(f"Training without DeepSpeed, with torch alone: {reason}.")
        return None
    if "RANK" not in os.environ:
        say("Training without DeepSpeed: the run was started without torchrun, as one process.")
        return None
    for sentence in changed:
        say(sentence)
    import deepspeed

    if on_cpu:
        # Its shared-memory operator would be compiled now: a minute, and a compiler. Gloo gives the same numbers.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Before the model is built: ZeRO-3 cuts it up while loading, and must know between how many.
    deepspeed.init_distributed("gloo" if on_cpu else "nccl", auto_mpi_discovery=False)
    return config


def check_reporting(training: Arguments) -> None:
    """Raises InputError when TensorBoard was asked for and is not installed."""
    if "tensorboard" in training.report_to and not any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
        raise InputError("--report_to tensorboard needs the package tensorboard: pip install tensorboard, or leave the option out.")


def send_events(trainer, folder: Path) -> None:
    """Send TensorBoard's events, where they were asked for, to the run's folder, unless TENSORBOARD_LOGGING_DIR names another."""
    from transformers.integrations import TensorBoardCallback

    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder / EVENTS)


def train(argv: list[str]) -> None:
    """Run one fine-tuning from the command line's words to the finished folder."""
    from transformers import logging, set_seed

    # 1. What is asked for, and whether it has been done.
    asked, data, lora, training = read_options((ModelArguments, DataArguments, LoraOptions, Arguments), argv)
    logging.set_verbosity_error()
    folder = Path(training.output_dir)
    settings = settings_of(argv, data, asked, training.deepspeed)
    machines.agree_on_settings(settings)
    machines.check_folder(folder, saves_checkpoints=training.save_strategy != "no")
    if gather([runs.read_json(folder / runs.FINISHED) and runs.read_json(folder / runs.SETTINGS) == settings])[0]:
        say(f"{folder} holds this run, finished.")
        return
    check_reporting(training)

    # 2. The data, every sample of it, before anything is written.
    processor = load_processor(asked.model_name_or_path, asked.trust_remote_code)
    if asked.max_slice_nums is not None:
        processor.image_processor.max_slice_nums = asked.max_slice_nums
    train_set, eval_set, examined = load_data(data, processor)
    if eval_set is None:
        if training.keep_best:
            raise InputError("--load_best_model_at_end needs pictures to tell the best by: set EVAL_DATA, or leave it out.")
        training.eval_strategy = "no"
    checkpoint = prepare_folder(folder, settings, training.resume_from_checkpoint)

    # 3. The model, and which of its parts learn.
    footprint = Footprint()
    set_seed(training.seed)
    model = build_model(asked, lora, training.precision)
    learning, sharding = digest_learning(model), sharding_of(training.deepspeed)
    check_learning(checkpoint, learning, sharding)
    sizes = checkpoint_bytes(count_learning(model), count_saved(model), bool(training.deepspeed), training.precision)
    check_room(folder, *sizes, saves_checkpoints=training.save_strategy != "no", keep_best=training.keep_best)

    # 4. Training.
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * world()
    sampler = LengthSampler([sum(len(turn.content) for turn in s.turns) for s in train_set.samples], per_step, training.seed)
    seconds_before = runs.read_json(checkpoint / runs.COMPLETE)["seconds"] if checkpoint else 0.0
    log = RunFolder(folder, sampler, seconds_before, {"model": settings["model"], "learning": learning, "sharding": sharding}, training.keep_best)

    def collate_and_see(samples: list) -> dict:
        batch = collate(samples, processor.tokenizer.pad_token_id, "right")
        footprint.see(batch)
        return batch

    trainer = CaptionTrainer(
        model=model, args=training, train_dataset=train_set, eval_dataset=eval_set, processing_class=processor, callbacks=[log],
        data_collator=collate_and_see,
    )
    trainer.sampler = sampler
    send_events(trainer, folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    # 5. The result.
    seconds = log.seconds()
    best = best_checkpoint(folder, trainer.state) if training.keep_best else None
    if training.keep_best and not best:
        say("The checkpoint with the lowest evaluation loss is not there any more: the result holds the last weights.")
    memory = footprint.finish(
        precision=training.precision, checkpointing=training.gradient_checkpointing, rank=lora.lora_r, tune_vision=asked.tune_vision,
    )
    facts = {
        "strategy": "lora" if lora.use_lora else "full", "model": asked.model_name_or_path, "seconds": seconds,
        "steps": trainer.state.global_step, "samples_per_second": trainer.state.global_step * per_step / seconds,
        "peak_memory": sum(memory["resident"]), "memory": memory, "launch": os.environ.get(runs.LAUNCH_VARIABLE),
        "best_step": runs.step_of(best) if best else None, "examined": examined,
        "trained_parameters": count_learning(model),
    }
    save_result(trainer, folder, facts, best, training.keep_checkpoints)
    of_best = f", the best after {facts['best_step']}" if best else ""
    say(f"Finished: {facts['steps']} steps{of_best}, {seconds:.0f} s, {facts['samples_per_second']:.1f} samples/s, {folder}")


def plain(error: Exception) -> CaptionLabError | None:
    """The one sentence behind an error of the machine: a full disk, too little memory. None for any other error."""
    text = str(error)
    if isinstance(error, CaptionLabError):
        return error
    if is_disk_full(error):
        return ResourceError("The disk is full (or a limit on files is reached): free space, then start again; the run continues from its last "
                             "checkpoint.")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return TrainingError("The memory is full: use a smaller --per_device_train_batch_size or --gradient_checkpointing true.")
    if machines.several_machines() and (isinstance(error, torch.distributed.DistError) or any(sign in text for sign in PEER_GONE)):
        return TrainingError("A process on another machine has ended, or the machine cannot be reached: see what it printed last, then "
                             "start again on every machine; the run continues from its last checkpoint.")
    return None


def complain(sentence: str) -> None:
    """Print `sentence` on stderr, unless another process of this machine has said the same: most faults meet all of them."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")  # torchrun's own folder for this start, one below it for each process
    if place:
        said = Path(place).parent.parent / hashlib.sha256(sentence.encode()).hexdigest()
        try:
            said.touch(exist_ok=False)
        except OSError:  # said already; or the disk is full, and better twice than never
            if said.exists():
                return
    print(sentence, file=sys.stderr, flush=True)


def main() -> int:
    """The command. Prints what went wrong as one line "ErrorType: sentence" and returns the exit code."""
    warnings.filterwarnings("ignore", "`gradient_checkpointing", FutureWarning)  # transformers 5 keeps the name
    try:
        train(sys.argv[1:])
    except Exception as error:
        known = plain(error)
        if known is None and world() > 1 and any(sign in str(error) for sign in PEER_GONE):
            print(f"Rank {rank()} ends: another process of this run is gone.", file=sys.stderr, flush=True)
            return 1
        if known is None:
            raise
        complain(f"{type(known).__name__}: {known}")
        return 1
    finally:
        if torch.distributed.is_initialized() and sys.exc_info()[0] is None:
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
