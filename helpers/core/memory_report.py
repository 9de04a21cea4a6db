"""Holds plans of memory against what was measured, and prints both: how far off the planner is, in per cent.

    data/model_sizes.yaml, `published`   → published() ─┐
    a run's folder (run.json)            → measured()  ─┴→ [Comparison, …] → print_plans()

Nothing here is fitted: a comparison is the plan as it stands against the number as it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.core.deepspeed_buffers import read_buffers, read_settings
from helpers.core.errors import InputError
from helpers.core.figures import label_of
from helpers.core.memory import PARTS, Plan, Setup, plan
from helpers.core.memory_figure import GIB, PART_LABELS, bar_label, memory_chart
from helpers.core.model_sizes import load_sizes, read_size
from helpers.core.runs import load_run


@dataclass(frozen=True)
class Comparison:
    """One measurement: `what` was measured, the `plan` for it, `planned` and `measured` bytes of the same thing."""

    what: str
    plan: Plan
    planned: float
    measured: float

    @property
    def error(self) -> float:
        """How much more the planner says than was measured, in per cent; negative where it says less."""
        return 100 * (self.planned / self.measured - 1)


def published() -> list[Comparison]:
    """The planner beside the published tables of the data file, on the conditions stated there."""
    comparisons = []
    for table in load_sizes()["published"]:
        size, scripts = read_size(table["model"]), table["scripts"]
        common = table["stated"] | {key: scripts[key] for key in ("precision", "rank", "views", "copies")}
        buffers = read_buffers(scripts["deepspeed"] | {"stage": table["stated"]["zero"]}, size.text.hidden)
        for strategy, cells in table["gib"].items():
            for gpus, gib in cells.items():
                foreseen = plan(size, Setup(strategy=strategy, gpus=gpus, buffers=buffers, **common))
                comparisons.append(Comparison(table["name"], foreseen, foreseen.total, gib * GIB))
    return comparisons


def measured(run: str | Path) -> Comparison:
    """The planner beside a finished run: its folder, or the run.json in it.

    Of the ranks, the one that took most counts. On a CPU that is memory beyond what the process had before the model was built, mapped
    files left out but for the weights'; on a GPU what torch's allocator handed out, which the plan's CUDA context is no part of.
    Raises: InputError for a folder without a finished run, or one that recorded no memory of its ranks.
    """
    folder = Path(run).parent if Path(run).name == "run.json" else Path(run)
    done = load_run(folder)
    record = done.memory
    if not record or not record.get("batch"):
        raise InputError(f"{folder / 'run.json'} holds no memory of each rank; train again with this version and give that run.")
    size = read_size(done.model)
    settings = read_settings(done.settings.get("deepspeed"), size.text.hidden, str(folder / "settings.json"))
    batch = record["batch"]
    setup = Setup(
        strategy=done.strategy, zero=settings.stage, offload=settings.offload, gpus=int(done.settings["processes"]),
        sequence_length=batch["tokens"], micro_batch=batch["samples"], checkpointing=record["checkpointing"], precision=record["precision"],
        rank=record["rank"], tune_vision=record["tune_vision"], views=-(-(batch.get("views") or batch["samples"]) // batch["samples"]),
        patches=-(-batch["patches"] // batch["samples"]) or None,
        buffers=settings.buffers, device=record["device"],
    )
    foreseen = plan(size, setup)
    took = max(peak - base for peak, base in zip(record["peak"], record["base"], strict=True))
    return Comparison(str(folder) + learned_otherwise(foreseen, done.trained_parameters), foreseen,
                      foreseen.total - foreseen.parts["framework"], took)


def learned_otherwise(foreseen: Plan, trained: int | None) -> str:
    """What to say behind a run's name where it trained other parameters than its plan counts: options that a plan does not know, such as
    --freeze, --tune_llm false or other layers for LoRA, make the two no pair."""
    if trained is None or abs(trained - foreseen.trained) <= 0.01 * foreseen.trained:
        return ""
    return f" (trained {trained / 1e6:.4g} M parameters, planned for {foreseen.trained / 1e6:.4g} M)"


def plan_command(model: str, strategies: Sequence[str], gpus: str, settings: dict, deepspeed: Path | None = None, runs: Sequence[Path] = (),
                 chart: Path | None = None, say=print) -> list[Plan]:
    """What `captionlab plan` does: plan every strategy for every number in `gpus` ("1,2,4"), print them beside all measurements, and
    draw them to `chart`. settings: fields of Setup; `deepspeed` overrules its zero and offload. Returns the plans.

    Raises: InputError for all that does not fit together.
    """
    try:
        numbers = [int(word) for word in gpus.split(",")]
    except ValueError as error:
        raise InputError(f"--gpus {gpus} is no list of numbers; write it as in --gpus 1,2,4,8.") from error
    size = read_size(model)
    if deepspeed is not None:
        configured = read_settings(deepspeed, size.text.hidden)
        settings = settings | {"zero": configured.stage, "offload": configured.offload, "buffers": configured.buffers}
    plans = [plan(size, Setup(strategy=strategy, gpus=number, **settings)) for strategy in strategies for number in numbers]
    print_plans(plans, [*published(), *(measured(run) for run in runs)])
    say("Published: pictures as large as the original scripts allow (10 views), which its table does not say; with smaller ones the planner "
        "says less. Sources: data/model_sizes.yaml.")
    if chart is not None:
        try:
            memory_chart(plans).savefig(chart, dpi=150)
        except (OSError, ValueError) as error:
            raise InputError(f"The chart cannot be written to {chart} ({error}); give a .png or .svg in a folder that is there.") from error
        say(f"the chart: {chart}")
    return plans


def gib(size: float) -> str:
    """Bytes as GiB with as many digits as matter."""
    return f"{size / GIB:.2f}" if size else "–"


def print_plans(plans: Sequence[Plan], comparisons: Sequence[Comparison] = (), console=None) -> None:
    """Print plans of one model as a table, and beside each comparison how far off the planner was.

    console: a `rich.console.Console`; None makes one on standard output.
    """
    from rich.console import Console

    console = console or Console()
    if plans:
        size, setup = plans[0].size, plans[0].setup
        console.print(f"{size.name}: {size.parameters / 1e9:.3g} B parameters (language {size.text_parameters / 1e9:.3g}, vision "
                      f"{size.vision_parameters / 1e9:.3g}, between them {size.merger_parameters / 1e9:.2g}); {setup.micro_batch} × "
                      f"{setup.sequence_length} tokens, {setup.precision}, gradient checkpointing {'on' if setup.checkpointing else 'off'}, "
                      f"pictures in up to {size.views if setup.views is None else setup.views} views", highlight=False)
        console.print("[italic]GiB a GPU at the highest moment of a step[/italic]")
        together = max(1, (console.width - PLAN_WIDTH) // PLAN_COLUMN)
        for first in range(0, len(plans), together):
            console.print(_plan_table(plans[first:first + together]))
    if comparisons:
        console.print(_comparison_table(comparisons))


PLAN_WIDTH, PLAN_COLUMN = 26, 12  # characters of a plan table's first column, and of each plan


def _plan_table(plans: Sequence[Plan]):
    """One column a plan, since its parts have long names: four plans fit a terminal of 80 characters."""
    from rich.table import Table

    table = Table()
    table.add_column("")
    for one in plans:
        table.add_column(bar_label(one).rpartition("\n")[0].replace(", ", "\n").replace("offload ", "offload\n"), justify="right")
    rows = {"trained": [f"{one.trained / 1e6:.4g} M" for one in plans]}
    rows |= {PART_LABELS[part]: [gib(one.parts[part]) for one in plans] for part in PARTS}
    rows |= {"[bold]total[/bold]": [f"[bold]{gib(one.total)}[/bold]" for one in plans], "highest at": [one.moment for one in plans],
             "in the CPU's memory": [gib(sum(one.host.values())) for one in plans]}
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _comparison_table(comparisons: Sequence[Comparison]):
    from rich.table import Table

    table = Table(title="The planner beside measurements, GiB a GPU (or process)", title_justify="left")
    table.add_column("measured run", overflow="fold")  # a path is shown whole
    for name in ("strategy", "ZeRO", "offload", "GPUs"):
        table.add_column(name)
    for name in ("measured", "planned", "off by"):
        table.add_column(name, justify="right")
    for one in comparisons:
        setup = one.plan.setup
        table.add_row(one.what, label_of(setup.strategy), str(setup.zero), setup.offload, str(setup.gpus), gib(one.measured), gib(one.planned),
                      f"{one.error:+.1f} %")
    return table
