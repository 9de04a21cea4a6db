"""Lays training runs side by side: a table of what each asked for, cost and reached, and five panels of curves.

    folders or Runs  --compare-->  RunComparison: .rows (the table's cells), .figure (matplotlib), and a display of both

A run that is still under way is read as far as it has come; what only a finished run knows is a dash.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.core import runs
from helpers.core.errors import InputError
from helpers.core.figures import label_of
from helpers.core.following import in_notebook, picture_bundle
from helpers.core.metric_tables import as_text
from helpers.core.runs import Run, counted_lines, read_progress
from helpers.core.training_figures import GIB, comparison_figure, running_mean, window_of


@dataclass(frozen=True)
class Record:
    """One run as it lies in its folder. lines: of progress.jsonl.  settings: settings.json.  facts: run.json, None before the end."""

    folder: Path
    lines: Sequence[dict]
    settings: Mapping
    facts: Mapping | None

    def points(self, key: str) -> list[tuple[int, float]]:
        """(step, value) of every counted line that has `key`."""
        return [(line["step"], line[key]) for line in counted_lines(list(self.lines)) if key in line]

    @property
    def step(self) -> int:
        """The last step with a loss; 0 before the first."""
        return max([step for step, _ in self.points("loss")], default=0)

    @property
    def seconds(self) -> float | None:
        """Time spent in training so far, in seconds."""
        return self.facts["seconds"] if self.facts else max([seconds for _, seconds in self.points("seconds")], default=None)

    @property
    def samples_per_step(self) -> float | None:
        """Samples that one optimizer step of all processes sees; None where the settings do not say."""
        if self.facts:
            return self.facts["samples_per_second"] * self.facts["seconds"] / self.facts["steps"] if self.facts["steps"] else None
        sizes = [self.settings.get(name, 1) for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "processes")]
        return float(int(sizes[0]) * int(sizes[1]) * int(sizes[2]))

    @property
    def memory(self) -> list[int]:
        """Peak bytes of each process: resident on a CPU, taken from the device on a GPU; none before the end."""
        return list(((self.facts or {}).get("memory") or {}).get("resident") or ())

    @property
    def strategy(self) -> str:
        """"lora" or "full"."""
        return self.facts["strategy"] if self.facts else "lora" if str(self.settings.get("use_lora")).lower() == "true" else "full"

    @property
    def trained(self) -> int | None:
        """Parameters that learned: as the run counted them, else those in the adapter's file; None where neither is there."""
        counted = (self.facts or {}).get("trained_parameters")
        return counted or count_parameters(self.folder / "adapter_model.safetensors")


def count_parameters(file: Path) -> int | None:
    """The numbers in a safetensors file, from its head alone; None when there is no such file."""
    from math import prod

    if not file.is_file():
        return None
    with file.open("rb") as stream:
        head = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")


def read_record(run: Run | str | Path) -> Record:
    """What there is of a run, finished or under way. Raises: InputError for a folder in which no run has begun."""
    folder = run.output_dir if isinstance(run, Run) else Path(run)
    settings = runs.read_json(folder / runs.SETTINGS)
    if settings is None:
        raise InputError(f"{folder} holds no training run; give the output folder of one.")
    return Record(folder, read_progress(folder)[0], settings, runs.read_json(folder / runs.FINISHED))


def short_names(folders: Sequence[Path]) -> list[str]:
    """What tells folders apart: their names, or of results/lora/model and results/full/model the part in which they differ.

    Raises: InputError for one folder given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise InputError("The same run was given twice; give each run once.")
    while len(parts) > 1 and len({path[-1] for path in parts}) == 1:
        parts = [path[:-1] for path in parts]
    depth = 1
    while len({path[-depth:] for path in parts}) < len(parts):
        depth += 1
    return ["/".join(path[-depth:]) for path in parts]


def _rows(records: Mapping[str, Record]) -> list[list[str]]:
    """The table's cells: one row a fact, one column a run, heading first."""
    def number(value, form: str = ".4g") -> str:
        return "–" if value is None else f"{value:{form}}"

    columns = []
    for record in records.values():
        losses, evaluations = record.points("loss"), record.points("eval_loss")
        smooth = running_mean([loss for _, loss in losses], window_of(len(losses)))
        best = min(evaluations, key=lambda point: point[1], default=None)
        rates = [rate for _, rate in record.points("learning_rate")]
        total = [line["of"] for line in record.lines if "of" in line]
        facts, seconds, step = record.facts or {}, record.seconds, record.step
        speed = facts.get("samples_per_second") or (record.samples_per_step * step / seconds if seconds and record.samples_per_step else None)
        columns.append({
            "strategy": label_of(record.strategy),
            "state": "finished" if record.facts else f"step {step}" + (f" of {total[-1]}" if total else ""),
            "optimizer steps": number(facts.get("steps") or (total[-1] if total else None), "d"),
            "peak learning rate": number(float(record.settings.get("learning_rate") or max(rates, default=0)) or None, "g"),
            "trained parameters": number(record.trained, ",d"),
            "final loss, smoothed": number(smooth[-1] if smooth else None),
            "final evaluation loss": number(evaluations[-1][1] if evaluations else None),
            "lowest evaluation loss": f"{best[1]:.4g} at step {best[0]}" if best else "–",
            "seconds": number(seconds, ".1f"),
            "samples a second": number(speed, ".1f"),
            "tokens a second": number(facts.get("tokens_per_second"), ",.0f"),
            "peak memory, GiB a process": ", ".join(f"{size / GIB:.2f}" for size in record.memory) or "–",
        })
    rows = [["", *map(label_of, records)]]
    for fact in columns[0]:
        if any(column[fact] != "–" for column in columns):
            rows.append([fact, *(column[fact] for column in columns)])
    return rows


@dataclass
class RunComparison:
    """Several runs side by side. A notebook shows the table and the figure, a terminal the table; `figure` can be saved."""

    records: dict[str, Record]
    rows: list[list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = _rows(self.records)

    @property
    def figure(self):
        """The curves, as a matplotlib Figure."""
        return comparison_figure({name: record.lines for name, record in self.records.items()},
                                 {name: record.samples_per_step for name, record in self.records.items()},
                                 {name: record.memory for name, record in self.records.items()})

    def __str__(self) -> str:
        return as_text(self.rows)

    __repr__ = __str__

    def to_html(self) -> str:
        """The table, as HTML."""
        def line(cells: Sequence[str], tag: str) -> str:
            first, *others = (html.escape(cell) for cell in cells)
            return (f"<tr><th style='text-align:left'>{first}</th>"
                    + "".join(f"<{tag} style='text-align:right'>{cell}</{tag}>" for cell in others) + "</tr>")

        heading, *rows = self.rows
        return f"<table><thead>{line(heading, 'th')}</thead><tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"

    def _ipython_display_(self) -> None:
        """Two outputs in a notebook, table and figure, since some pages show no pictures inside of HTML; text elsewhere."""
        if not in_notebook():
            print(self)
            return
        from IPython.display import display

        display({"text/html": self.to_html(), "text/plain": str(self)}, raw=True)
        bundle, size = picture_bundle(self.figure, f"curves of {', '.join(map(label_of, self.records))}")
        display(bundle, raw=True, metadata=size)


def compare(given: Sequence[Run | str | Path], names: Sequence[str] | None = None) -> RunComparison:
    """Read `given` runs and lay them side by side; `names` for the columns, None for what tells their folders apart.

    Raises: InputError for no run, for a folder without one, and for names that are not as many or not all different.
    """
    if not given:
        raise InputError("There is no run to compare; give at least one.")
    records = [read_record(run) for run in given]
    names = list(names) if names is not None else short_names([record.folder for record in records])
    if len(names) != len(records) or len(set(names)) != len(names):
        raise InputError(f"{len(records)} runs and the names {', '.join(names)}: give each run a name of its own.")
    return RunComparison(dict(zip(names, records)))
