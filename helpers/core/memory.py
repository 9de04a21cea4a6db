"""Plans the memory of a training run: bytes a GPU holds, part by part, for LoRA or full training, ZeRO's stages, offloading, GPUs.

    ModelSize, Setup → plan() → Plan: the moments of a step, each {part: bytes}; the highest is the peak that must fit

A step's memory has no single formula, because parts come and go. The planner adds them up at these moments and takes the highest:

    fetching   the last parameters arrive from the other GPUs (ZeRO 3 on several): activations of the layers before them
    forward    the loss is computed: all activations, the logits, no gradients yet
    backward   activations going, gradients growing, their buckets filled and reduced
    casting    gradients flattened and cast to float32 (with ZeRO; activations gone)
    update     Adam's step with its scratch space

Sources: ZeRO (Rajbhandari et al., 2020, arXiv:1910.02054, section 3 and figure 1): with mixed precision 2 bytes of parameters, 2 of
gradients, and 12 of optimizer states (float32 master weights and Adam's two moments) a parameter; stage 2 divides gradients and
optimizer states by the number of GPUs, stage 3 the parameters too. ZeRO-Offload (Ren et al., 2021, arXiv:2101.06840): optimizer states
and gradients live in the CPU's memory. What DeepSpeed 0.19.8 adds to that was read from its source (runtime/zero/stage_1_and_2.py,
stage3.py, partitioned_param_coordinator.py) and stands beside each line below. DeepSpeed's own estimators count model states alone;
tests compare with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from helpers.core import activations
from helpers.core.deepspeed_buffers import OFFLOADS, Buffers, kit_buffers
from helpers.core.errors import InputError
from helpers.core.model_sizes import ModelSize, read_size

PARTS = ("parameters", "gradients", "optimizer", "activations", "buffers", "framework")
STRATEGIES, STAGES, WIDTHS = ("lora", "full"), (0, 2, 3), {"bf16": 2, "fp16": 2, "fp32": 4}
# The CUDA context and torch's kernels: 1343 MB in Hugging Face's "Model training anatomy" (docs/source/en/model_memory_anatomy.md),
# read there from nvidia-smi. Not measured for this kit; other cards, drivers and NCCL differ by some hundred MiB.
CUDA_CONTEXT = 1343 * 2**20
MASTER, ADAM = 4, 8  # bytes a trained parameter: float32 weights, two float32 moments
# Scratch space of torch.optim.AdamW a parameter: all tensors at once on a GPU (one square root), one tensor after the other on a CPU
# (a square root and its quotient) (torch/optim/adam.py, _multi_tensor_adam and _single_tensor_adam).
SCRATCH = {"cuda": 4, "cpu": 8}


@dataclass(frozen=True)
class Setup:
    """How the training is done. `offload`: what lives in the CPU's memory: "none", "optimizer" or "all" (parameters as well).

    `sequence_length` counts a sample's tokens, those of pictures among them; `micro_batch` samples go through a GPU at once, each with
    a picture cut into `views` of `patches` patches (None: the model's). `copies`: LoRA trains copies of the merger and the vision tower
    beside the frozen originals, as PEFT's modules_to_save does. `buffers`: DeepSpeed's (None: those of the kit's configuration).
    `device`: "cuda", or "cpu", where memory counts only once it is touched.
    """

    strategy: str = "lora"
    zero: int = 2
    offload: str = "none"
    gpus: int = 1
    sequence_length: int = 2048
    micro_batch: int = 1
    checkpointing: bool = True
    precision: str = "bf16"
    rank: int = 64
    tune_vision: bool = True
    copies: bool = True
    views: int | None = None
    patches: int | None = None
    buffers: Buffers | None = None
    device: str = "cuda"


@dataclass(frozen=True)
class Plan:
    """Bytes a GPU needs. `moments`: {"fetching"|"forward"|"backward"|"casting"|"update": {part: bytes}}; `host`: bytes in the CPU's memory for
    each GPU, {part: bytes}; `trained` and `resident` parameters, all GPUs' shares together."""

    size: ModelSize
    setup: Setup
    trained: int
    resident: int
    moments: dict[str, dict[str, int]]
    host: dict[str, int]

    @property
    def moment(self) -> str:
        """The name of the moment that needs most."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def parts(self) -> dict[str, int]:
        """The parts at that moment, in the order of PARTS."""
        return self.moments[self.moment]

    @property
    def total(self) -> int:
        """Their sum: the peak."""
        return sum(self.parts.values())


def plan_memory(model: str, setups: list[Setup]) -> list[Plan]:
    """A plan for each of `setups` of `model` ("tiny", a folder with config.json, or a name in data/model_sizes.yaml).

    Raises: InputError for an unknown model, a configuration without a size, and options that contradict each other.
    """
    size = read_size(model)
    return [plan(size, setup) for setup in setups]


def check(size: ModelSize, setup: Setup) -> None:
    """Raise InputError when `setup` cannot be: one sentence that says which options contradict each other."""
    for name, value, known in (("strategy", setup.strategy, STRATEGIES), ("zero", setup.zero, STAGES), ("offload", setup.offload, OFFLOADS),
                               ("precision", setup.precision, tuple(WIDTHS))):
        if value not in known:
            raise InputError(f"There is no {name} {value!r}: choose {', '.join(map(str, known))}.")
    for name in ("gpus", "sequence_length", "micro_batch", "rank"):
        if getattr(setup, name) < 1:
            raise InputError(f"{name} is {getattr(setup, name)}; it must be at least 1.")
    if setup.zero == 0 and setup.offload != "none":
        raise InputError(f"ZeRO 0 keeps everything on every GPU and cannot offload: choose zero 2 or 3 for offload {setup.offload}.")
    if setup.zero == 2 and setup.offload == "all":
        raise InputError("ZeRO 2 keeps all parameters on every GPU: choose zero 3 for offload all, or offload optimizer.")
    if setup.strategy == "lora" and not size.adapter_width:
        raise InputError(f"No layer of {size.name} has a name that LoRA adapts; give another pattern or plan full training.")
    views = size.views if setup.views is None else setup.views
    if views * size.image_tokens >= setup.sequence_length and not size.elastic:
        raise InputError(f"A picture of {views} views takes {views * size.image_tokens} tokens of {size.name} and leaves no room for words in "
                         f"{setup.sequence_length}: raise the sequence length or lower the views.")


def trained_and_resident(size: ModelSize, setup: Setup) -> tuple[int, int]:
    """How many parameters learn, and how many there are, adapter and copies among them."""
    eyes = size.vision_parameters if setup.tune_vision else 0
    if setup.strategy == "full":
        return size.text_parameters + size.merger_parameters + eyes, size.parameters
    beside = size.merger_parameters + eyes
    adapter = setup.rank * size.adapter_width
    return adapter + beside, size.parameters + adapter + (beside if setup.copies else 0)


def largest_picture(size: ModelSize, setup: Setup) -> int:
    """Patches of the largest view of a picture that a sample of `sequence_length` has room for."""
    if not size.elastic:
        return size.patches
    return min(size.patches, (setup.sequence_length - 1) * (size.patches // size.image_tokens))


def plan(size: ModelSize, setup: Setup) -> Plan:
    """Add up one setup. Raises: InputError (see `check`)."""
    check(size, setup)
    if setup.buffers is None:
        setup = replace(setup, buffers=kit_buffers(setup.zero, size.text.hidden))
    trained, resident = trained_and_resident(size, setup)
    states = {0: _replicated, 2: _stage_2, 3: _stage_3}[setup.zero]
    moments, host = states(size, setup, trained, resident)
    wide = WIDTHS[setup.precision]
    tokens = setup.micro_batch * setup.sequence_length
    patches = setup.micro_batch * (size.views if setup.views is None else setup.views) * (setup.patches or largest_picture(size, setup))
    mask = 1 if setup.device == "cuda" else wide
    lora = setup.strategy == "lora"
    beside = tuple(activations.adapter(size.text, wide, setup.rank, mask, linear) if lora else 0 for linear in (False, True))
    kept = activations.saved(size, tokens, patches, wide, setup.checkpointing, beside)
    moments["forward"]["activations"] = kept + activations.loss(size, tokens)
    if "fetching" in moments:
        moments["fetching"]["activations"] = (1 - ahead(size, setup, resident) / resident) * kept
    kept += activations.recomputed(size, tokens, patches, wide, setup.checkpointing, beside)
    passing = [parts | {"activations": left * kept} for left, parts in moments["backward"]]
    moments["backward"] = max(passing, key=lambda parts: sum(parts.values()))
    framework = CUDA_CONTEXT if setup.device == "cuda" else 0
    whole = {name: {part: int(parts.get(part, framework if part == "framework" else 0)) for part in PARTS}
             for name, parts in moments.items()}
    return Plan(size, setup, trained, resident, whole, {part: int(value) for part, value in host.items()})


def _replicated(size: ModelSize, setup: Setup, trained: int, resident: int):
    """No DeepSpeed: transformers' Trainer with torch's DistributedDataParallel.

    Trained parameters are float32 whatever the precision; autocast makes 16-bit copies of them that live until the backward pass ends.
    DistributedDataParallel holds every gradient a second time, in its buckets (gradient_as_bucket_view is off), also around a single
    process: accelerate wraps whatever torchrun started (LOCAL_RANK is set; accelerate/state.py and accelerator.py, prepare_model).
    """
    wide = WIDTHS[setup.precision]
    parameters = wide * (resident - trained) + 4 * trained
    casts = wide * trained if wide < 4 else 0
    optimizer = ADAM * trained
    buckets = 4 * trained
    # On a CPU the optimizer goes through the tensors one by one, so that its scratch space is that of the largest.
    scratch = SCRATCH["cuda"] * trained if setup.device == "cuda" else SCRATCH["cpu"] * min(trained, size.largest_parameter)
    always = {"parameters": parameters, "optimizer": optimizer, "buffers": buckets}
    return {
        "forward": always | {"parameters": parameters + casts},
        "backward": [(1, always | {"parameters": parameters + casts, "gradients": 4 * trained})],
        "update": always | {"gradients": 4 * trained, "optimizer": optimizer + scratch},
    }, {}


def _reduction(size: ModelSize, setup: Setup, trained: int) -> tuple[int, int]:
    """Bytes of the bucket in which gradients wait to be reduced, and of what a reduction adds while it runs.

    The bucket's content is flattened into a second buffer of its size, and a gradient larger than the bucket lives outside of it
    (stage_1_and_2.py allreduce_bucket and extra_large_param_to_reduce, coalesced_collectives.py reduce_scatter_coalesced).
    """
    wide, buffers = WIDTHS[setup.precision], setup.buffers
    filled = min(buffers.reduce, trained)
    bucket = (buffers.reduce if setup.device == "cuda" else filled) * wide * (2 if buffers.overlap else 1)
    alone = size.largest_parameter if setup.strategy == "full" and size.largest_parameter > buffers.reduce else 0
    return bucket, wide * max(filled if setup.gpus > 1 else 0, 2 * alone)


def _backward(size: ModelSize, setup: Setup, trained: int, always: dict, gradients: float, early: bool) -> list[tuple[float, dict]]:
    """The times in a backward pass at which most is there: [(share of the activations that is left, parts)].

    A bucket is reduced when it is full, and the last one at the end (reduce_independent_p_g_buckets_and_remove_grads and
    independent_gradient_partition_epilogue, in stage 3 as well). By then the layers that filled it have let go of their activations.
    early: `gradients`, the shares that are kept, have their memory before the first reduction (stage 3), or after it (stage 2:
    copy_grads_in_partition). `always` holds no bucket.
    """
    wide = WIDTHS[setup.precision]
    bucket, reduction = _reduction(size, setup, trained)
    filled = min(setup.buffers.reduce, trained)
    first = {"gradients": gradients if early else 0}
    times = [(1, always | first | {"buffers": bucket if setup.device == "cuda" or early else 0})]
    for number in range(1, min(trained // filled, 2) + 1):
        times.append((1 - number * filled / trained, always | (first if number == 1 else {"gradients": gradients}) | {"buffers": bucket + reduction}))
    if setup.strategy == "full" and size.largest_parameter > setup.buffers.reduce:
        last = reduction  # the words' embeddings, whose gradient is complete last, are reduced alone
    else:
        last = wide * (trained % filled) if setup.gpus > 1 else 0
    return [*times, (0, always | {"gradients": gradients, "buffers": bucket + last})]


def _stage_2(size: ModelSize, setup: Setup, trained: int, resident: int):
    """Parameters whole on every GPU; gradients and optimizer states cut into as many shares as there are GPUs."""
    wide, share = WIDTHS[setup.precision], trained / setup.gpus
    always = {"parameters": wide * resident}
    if setup.offload == "optimizer":
        # One gradient at a time waits on the GPU for its copy (temp_grad_buffer_for_gpu_offload).
        waiting = wide * size.largest_parameter
        host = {"optimizer": (MASTER + ADAM) * share, "gradients": 4 * share, "buffers": wide * (share + size.largest_parameter)}
        passing = [(left, parts | {"buffers": waiting + parts["buffers"]}) for left, parts in _backward(size, setup, trained, always, 0, False)]
        return {"forward": always | {"buffers": waiting}, "backward": passing,
                "update": always | {"buffers": waiting}}, host
    always["optimizer"] = (MASTER + ADAM) * share  # the master share is a copy also in float32 (single_partition_of_fp32_groups)
    flat = wide * share                            # flatten(averaged_gradients), beside the gradients themselves
    cast = 4 * share if wide < 4 else 0            # .to(float32): nothing to do in float32
    return {
        "forward": dict(always),
        "backward": _backward(size, setup, trained, always, wide * share, early=False),
        "casting": always | {"gradients": wide * share + flat + cast},
        "update": always | {"gradients": 4 * share, "optimizer": always["optimizer"] + SCRATCH[setup.device] * share},
    }, {}


def gathered(size: ModelSize, setup: Setup, resident: int) -> int:
    """Parameters that stage 3 has whole on a GPU at most.

    One that is used again within `reuse` parameters is not given back (partitioned_param_coordinator.py, __params_to_release): around
    the turn from forward to backward those are the last ones, each counted on the way there and back, and once more where the backward
    pass computes its layer again. Or the largest layer with what is fetched ahead, if that is more. None where the only GPU holds all.
    """
    buffers = setup.buffers
    if setup.gpus == 1 and setup.offload != "all":
        return 0
    turn = min(buffers.reuse / (3 if setup.checkpointing else 2), buffers.live)
    return int(min(resident, max(turn, size.largest_parameter + buffers.prefetch)))


def ahead(size: ModelSize, setup: Setup, resident: int) -> int:
    """Parameters that stage 3 fetches in one go before they are needed."""
    return min(setup.buffers.prefetch, gathered(size, setup, resident))


def _stage_3(size: ModelSize, setup: Setup, trained: int, resident: int):
    """Parameters, gradients and optimizer states cut into shares; parameters gathered while they are used."""
    wide, share = WIDTHS[setup.precision], trained / setup.gpus
    bucket, _ = _reduction(size, setup, trained)
    fetched = wide * gathered(size, setup, resident)
    group = min(share, setup.buffers.sub_group)  # the optimizer goes from one sub-group to the next
    cut, gradients, optimizer = wide * resident / setup.gpus, wide * share, (MASTER + ADAM) * share
    always, host = {"parameters": cut, "buffers": bucket}, {}  # the bucket is there from the start (stage3.py, _setup_for_real_optimizer)
    if setup.offload == "all":
        always["parameters"], host["parameters"] = 0, cut
    if setup.offload == "none":
        always |= {"gradients": gradients, "optimizer": optimizer}  # the gradients' shares too: grad_partitions_flat_buffer
    else:
        host |= {"optimizer": optimizer, "gradients": gradients + 4 * share}
    used = always | {"parameters": always["parameters"] + fetched}
    moments = {"forward": dict(used), "backward": _backward(size, setup, trained, used, used.get("gradients", 0), early=True),
               "update": dict(always)}
    if setup.gpus > 1:
        # What is fetched in one go arrives in one flat tensor and is copied out of it; the flat one stays until the last of its parameters
        # is used (partition_parameters.py, AllGatherCoalescedHandle; partitioned_param_coordinator.py, __inflight_param_registry).
        moments["fetching"] = used | {"buffers": bucket + wide * ahead(size, setup, resident)}
    if setup.offload == "none":
        moments["casting"] = always | {"gradients": gradients + wide * group + (4 * group if wide < 4 else 0)}
        moments["update"] = always | {"gradients": gradients + 4 * group, "optimizer": optimizer + SCRATCH[setup.device] * group}
    return moments, host
