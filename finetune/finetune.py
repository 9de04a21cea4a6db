"""Fine-tune a MiniCPM-V on pictures and answers: LoRA or all parameters, one process or many, CPU or GPU.

Data: a conversation file (see helpers/core/conversations.py) → one encoded sample per picture (helpers/core/encoding.py), of
whose tokens only the answer's carry loss → batches of samples of like length → transformers' Trainer, under DeepSpeed when
`--deepspeed` names a configuration. Started by finetune_lora.sh and finetune_ds.sh through torchrun, or by hand:

    torchrun --nproc-per-node 2 finetune/finetune.py --model_name_or_path … --data_path train.json --output_dir output …

What a run leaves behind is described in helpers/core/runs.py. Started again with the same settings, it continues from its
last complete checkpoint and ends with the same weights; a finished run is left as it is; with other settings it starts afresh.
"""

import errno
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository, when `helpers` is not installed

from helpers.core import deepspeed_start, machines, ranks, runs  # noqa: E402
from helpers.core.conversations import picture_faults, read_conversations  # noqa: E402
from helpers.core.errors import CaptionLabError, InputError, ResourceError, TrainingError  # noqa: E402
from helpers.core.processes import die_with_parents  # noqa: E402

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

if __name__ == "__main__":
    die_with_parents()  # before anything slow
    import torch

    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"  # read by DeepSpeed when it is imported
    deepspeed_start.why_not()  # before transformers looks for it

import torch  # noqa: E402
from transformers import AutoModelForImageTextToText, Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from helpers.core.batches import Conversations, LengthSampler  # noqa: E402
from helpers.core.encoding import collate  # noqa: E402
from helpers.core.footprint import Footprint  # noqa: E402

# Attention of the language model: softmax attention, and the linear attention of the Qwen3.5 layers in MiniCPM-V 4.6.
LANGUAGE_ATTENTION = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|linear_attn\.(in_proj_qkv|in_proj_z|out_proj))"
# How safetensors and torch.save (whose stream has no errno) say that a file could not be written to its end.
DISK_FULL = ("No space left", "PytorchStreamWriter failed", "iostream error", "unexpected pos")
# How gloo says that the other end of a connection is gone; other back ends raise an error of their own kind.
LINK_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo/transport")


@dataclass
class ModelArguments:
    """Which model, and which of its parts learn. The merger, between eyes and language, always does."""

    model_name_or_path: str = field(metadata={"help": "a folder, or a name on the Hugging Face hub"})
    tune_vision: bool = field(default=True, metadata={"help": "train the vision tower along"})
    tune_llm: bool = field(default=True, metadata={"help": "full fine-tuning only: train the language model"})
    max_slice_nums: int | None = field(default=None, metadata={"help": "most slices that a large picture is cut into"})


@dataclass
class DataArguments:
    """What to learn from."""

    data_path: str = field(metadata={"help": "train.json"})
    eval_data_path: str | None = field(default=None, metadata={"help": "eval.json, for the loss on pictures not trained on"})
    model_max_length: int = field(default=2048, metadata={"help": "longest sample in tokens, the picture's among them"})
    cache_gib: float = field(default=1.0, metadata={"help": "memory per process for encoded samples, kept between epochs"})


@dataclass
class LoraOptions:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): frozen weights W plus trained B A of rank r, times alpha / r."""

    use_lora: bool = field(default=False, metadata={"help": "train an adapter instead of all parameters"})
    lora_r: int = field(default=64, metadata={"help": "rank"})
    lora_alpha: int = field(default=64, metadata={"help": "the update's weight is alpha / rank"})
    lora_dropout: float = field(default=0.05)
    lora_target_modules: str = field(default=LANGUAGE_ATTENTION, metadata={"help": "regular expression over module names"})


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
    keep_checkpoints: bool = field(default=False, metadata={"help": "keep the last checkpoint after the run has finished"})

    def __post_init__(self) -> None:
        on_cpu = self.use_cpu or not torch.cuda.is_available()
        if on_cpu:
            self.use_cpu, self.ddp_backend, self.dataloader_pin_memory = True, "gloo", False
        elif not (self.bf16 or self.fp16):
            self.bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            self.fp16 = not self.bf16
        if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
            self.gradient_checkpointing_kwargs = {"use_reentrant": False}
        self.label_names, self.prediction_loss_only, self.save_total_limit = ["labels"], True, None
        self.deepspeed = prepare_deepspeed(self.deepspeed, on_cpu) if self.deepspeed else None
        super().__post_init__()


def prepare_deepspeed(config_path: str, on_cpu: bool) -> dict | None:
    """Read a DeepSpeed configuration and join the processes; None, said aloud, where DeepSpeed cannot be used or is not needed."""
    config, left_out = deepspeed_start.read_config(Path(config_path), on_cpu)
    reason = deepspeed_start.why_not()
    if reason:
        say(f"Training without DeepSpeed, with torch alone: {reason}.")
        return None
    if "RANK" not in os.environ:
        say("Training without DeepSpeed: the run was started without torchrun, as one process.")
        return None
    for sentence in left_out:
        say(sentence)
    import deepspeed

    if on_cpu:
        # Its shared-memory operator would be compiled now: a minute, and a compiler. Gloo gives the same numbers.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Before the model is built: ZeRO-3 cuts it up while loading, and must know between how many.
    deepspeed.init_distributed("gloo" if on_cpu else "nccl", auto_mpi_discovery=False)
    return config


def say(sentence: str) -> None:
    """Print `sentence`, once for all processes."""
    if RANK == 0:
        print(sentence, flush=True)


def barrier() -> None:
    """Wait until every process is here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


class RunFolder(TrainerCallback):
    """Writes progress.jsonl, marks checkpoints as complete, and keeps the sampler's epoch and the clock across interruptions."""

    def __init__(self, folder: Path, sampler: LengthSampler, seconds_before: float):
        self.folder, self.sampler, self.seconds_before = folder, sampler, seconds_before
        self.start = 0.0

    def seconds(self) -> float:
        """Time spent in training, in this session and those before the checkpoint that it began with."""
        return self.seconds_before + time.perf_counter() - self.start

    def write(self, **line) -> None:
        """Append one line to progress.jsonl."""
        with (self.folder / runs.PROGRESS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = time.perf_counter()
        if state.is_world_process_zero:
            runs.mend_progress(self.folder)
            self.write(step=state.global_step, of=state.max_steps)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.epoch = int(state.epoch or 0)

    def on_log(self, args, state, control, logs, **kwargs):
        wanted = {key: logs[key] for key in ("loss", "eval_loss", "learning_rate", "grad_norm", "epoch") if key in logs}
        if state.is_world_process_zero and ("loss" in wanted or "eval_loss" in wanted):
            self.write(step=state.global_step, seconds=round(self.seconds(), 3), **wanted)

    def on_save(self, args, state, control, **kwargs):
        barrier()  # every process has written its part
        if state.is_world_process_zero:
            newest = self.folder / f"checkpoint-{state.global_step}"
            runs.write_json(newest / runs.COMPLETE, {"step": state.global_step, "seconds": self.seconds()})
            for older in runs.checkpoints(self.folder):
                if older != newest:
                    shutil.rmtree(older)


class CaptionTrainer(Trainer):
    """transformers' Trainer with the course's sampler."""

    sampler: LengthSampler

    def _get_train_sampler(self, train_dataset=None):
        return self.sampler


def no_model(name: str, error: Exception) -> InputError:
    """The sentence for a `name` from which nothing that can be trained was loaded."""
    return InputError(f"{name} is no model that can be trained: {str(error).splitlines()[0]}")


def build_model(model_args: ModelArguments, lora: LoraOptions, training: Arguments):
    """Load the model and decide what learns: an adapter (with the eyes beside it) or the parts named in `model_args`."""
    dtype = torch.float32 if training.use_cpu or not lora.use_lora else (torch.bfloat16 if training.bf16 else torch.float16)
    try:
        model = AutoModelForImageTextToText.from_pretrained(model_args.model_name_or_path, dtype=dtype)
    except (OSError, ValueError) as error:
        raise no_model(model_args.model_name_or_path, error) from error
    # With downsample_mode "4x" the vision tower skips its own merger: nothing there would ever learn.
    unused = ["vit_merger"] if model.config.downsample_mode == "4x" else []
    eyes = [name for name, _ in model.model.vision_tower.named_children() if name not in unused] if model_args.tune_vision else []
    if lora.use_lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(
            r=lora.lora_r, lora_alpha=lora.lora_alpha, lora_dropout=lora.lora_dropout, target_modules=lora.lora_target_modules,
            modules_to_save=["model.merger", *(f"vision_tower.{name}" for name in eyes)], task_type="CAUSAL_LM",
        ))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    else:
        model.model.language_model.requires_grad_(model_args.tune_llm)
        for name, part in model.model.vision_tower.named_children():
            part.requires_grad_(name in eyes)
    return model


def load_data(data: DataArguments, processor) -> tuple[Conversations, Conversations | None]:
    """Read the conversation files and open every picture, each process its share. Raises InputError before any training."""
    sets = []
    for path in filter(None, (data.data_path, data.eval_data_path)):
        samples = read_conversations(path, need_answers=True)
        found = picture_faults(samples[RANK::WORLD])
        if torch.distributed.is_initialized():
            shares: list = [None] * WORLD
            torch.distributed.all_gather_object(shares, found)
            found = [fault for share in shares for fault in share]
        if found:
            more = f" ({len(found) - 1} more: captionlab check {path})" if len(found) > 1 else ""
            raise InputError(f"{path}, sample {found[0].sample}: {found[0].message}{more}.")
        sets.append(Conversations(samples, processor, data.model_max_length, data.cache_gib * 2**30))
    return sets[0], sets[1] if len(sets) > 1 else None


def settings_of(argv: list[str], data: DataArguments, model: ModelArguments, training: Arguments) -> dict:
    """All that decides what a run ends with; what the files hold counts, not where they lie."""
    placed = {"--output_dir", "--model_name_or_path", "--data_path", "--eval_data_path", "--deepspeed"}
    options = {name.removeprefix("--"): value for name, value in zip(argv, argv[1:], strict=False)
               if name.startswith("--") and name not in placed}
    return options | {
        "model": runs.digest_model(model.model_name_or_path),
        "data": runs.digest_data(data.data_path),
        "eval_data": runs.digest_data(data.eval_data_path) if data.eval_data_path else None,
        "deepspeed": training.deepspeed,
        "processes": WORLD,
    }


def prepare_folder(folder: Path, settings: dict) -> Path | None:
    """Make `folder` ready for a run with `settings`; returns the checkpoint to continue from, if any."""
    if RANK == 0:
        before = runs.read_json(folder / runs.SETTINGS)
        changed = runs.changed_settings(before, settings) if before else []
        if changed:
            say(f"{folder} holds a run with other settings ({', '.join(changed)}): starting afresh.")
        runs.clear(folder, everything=bool(changed) or before is None)
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_json(folder / runs.SETTINGS, settings)
    barrier()
    checkpoint = ranks.gather([runs.last_complete_checkpoint(folder)])[0]
    if checkpoint:
        say(f"Continuing after step {runs.step_of(checkpoint)}.")
    return checkpoint


def save_result(trainer: Trainer, folder: Path, facts: dict, keep_checkpoints: bool) -> None:
    """Write the trained weights and the processor to `folder`, then the mark that the run is finished."""
    draft = folder / ".result"
    trainer.save_model(str(draft))
    if RANK == 0:
        (draft / "training_args.bin").unlink(missing_ok=True)
        for path in draft.iterdir():
            os.replace(path, folder / path.name)
        draft.rmdir()
        runs.write_json(folder / runs.FINISHED, facts)
        if not keep_checkpoints:
            for path in runs.checkpoints(folder):
                shutil.rmtree(path)
    barrier()


def train(argv: list[str]) -> None:
    """Run one fine-tuning from the command line's words to the finished folder."""
    from transformers import AutoProcessor, HfArgumentParser, logging, set_seed

    parser = HfArgumentParser((ModelArguments, DataArguments, LoraOptions, Arguments))
    model_args, data_args, lora, training = parser.parse_args_into_dataclasses(argv)
    logging.set_verbosity_error()
    folder = Path(training.output_dir)
    settings = settings_of(argv, data_args, model_args, training)
    machines.agree_on_settings(settings)
    machines.check_folder(folder, saves_checkpoints=training.save_strategy != "no")
    finished = runs.read_json(folder / runs.FINISHED) and runs.read_json(folder / runs.SETTINGS) == settings
    if ranks.gather([finished])[0]:
        say(f"{folder} holds this run, finished.")
        return
    try:
        processor = AutoProcessor.from_pretrained(model_args.model_name_or_path)
    except (OSError, ValueError) as error:
        raise no_model(model_args.model_name_or_path, error) from error
    if model_args.max_slice_nums is not None:
        processor.image_processor.max_slice_nums = model_args.max_slice_nums
    train_set, eval_set = load_data(data_args, processor)
    checkpoint = prepare_folder(folder, settings)
    footprint = Footprint()
    set_seed(training.seed)
    model = build_model(model_args, lora, training)
    if eval_set is None:
        training.eval_strategy = "no"
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * WORLD
    sampler = LengthSampler([sum(len(turn.content) for turn in s.turns) for s in train_set.samples], per_step, training.seed)
    seconds_before = runs.read_json(checkpoint / runs.COMPLETE)["seconds"] if checkpoint else 0.0
    log = RunFolder(folder, sampler, seconds_before)

    def collate_and_see(samples: list) -> dict:
        batch = collate(samples, processor.tokenizer.pad_token_id, "right")
        footprint.see(batch)
        return batch

    trainer = CaptionTrainer(
        model=model, args=training, train_dataset=train_set, eval_dataset=eval_set, processing_class=processor, callbacks=[log],
        data_collator=collate_and_see,
    )
    trainer.sampler = sampler
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = log.seconds()
    memory = footprint.finish(
        precision="bf16" if training.bf16 else "fp16" if training.fp16 else "fp32", checkpointing=training.gradient_checkpointing,
        rank=lora.lora_r, tune_vision=model_args.tune_vision,
    )
    facts = {
        "strategy": "lora" if lora.use_lora else "full", "model": model_args.model_name_or_path, "seconds": seconds,
        "steps": trainer.state.global_step, "samples_per_second": trainer.state.global_step * per_step / seconds,
        "peak_memory": sum(memory["resident"]), "memory": memory, "launch": os.environ.get(runs.LAUNCH_VARIABLE),
    }
    save_result(trainer, folder, facts, training.keep_checkpoints)
    say(f"Finished: {facts['steps']} steps, {seconds:.0f} s, {facts['samples_per_second']:.1f} samples/s, {folder}")


def plain(error: Exception) -> CaptionLabError | None:
    """The one sentence behind an error of the machine: a full disk, too little memory. None for any other error."""
    text = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or any(sign in text for sign in DISK_FULL):
        return ResourceError("The disk is full: free space or choose another OUTPUT_DIR, then start again; the run continues.")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return TrainingError("The memory is full: use a smaller --per_device_train_batch_size or --gradient_checkpointing true.")
    if machines.several_machines() and (isinstance(error, torch.distributed.DistError) or any(sign in text for sign in LINK_LOST)):
        return TrainingError("A process on another machine has ended, or the machine cannot be reached: see what it printed last, then "
                             "start again on every machine; the run continues from its last checkpoint.")
    return error if isinstance(error, CaptionLabError) else None


def main() -> int:
    """The command. Prints what went wrong as one line "ErrorType: sentence" and returns the exit code."""
    try:
        train(sys.argv[1:])
    except Exception as error:
        known = plain(error)
        if known is None:
            raise
        print(f"{type(known).__name__}: {known}", file=sys.stderr, flush=True)
        return 1
    finally:
        if torch.distributed.is_initialized() and sys.exc_info()[0] is None:
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
