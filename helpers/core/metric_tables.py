"""A table of scores that says which differences are real: one row a metric, one column a system.

    metrics.json's dictionary  --score_rows-->  [["metric", "a: lora", "b: full"], ["BLEU-4", "0.31 [0.28, 0.34]", "0.45 [0.41, 0.48] > a"], …]

Systems get letters in their order. "> a" after a score says that this system is better than system a, and that chance
does not explain the difference (the p-value, adjusted for the number of pairs, is below 0.05).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase

from helpers.core.figures import label_of
from helpers.core.metric_names import read_as


def flat_scores(scores: Mapping) -> dict[str, float]:
    """The numbers of one system, BERTScore's three under "BERTScore.f1" and so on; counts and intervals left out."""
    found: dict[str, float] = {}
    for metric, value in scores.items():
        if isinstance(value, Mapping) and metric != "intervals":
            found |= {f"{metric}.{part}": number for part, number in value.items()}
        elif isinstance(value, float):
            found[metric] = value
    return found


def really_better(result: Mapping) -> dict[tuple[str, str], set[str]]:
    """{(system, metric): the systems that it beats for real}."""
    beaten: dict[tuple[str, str], set[str]] = {}
    for pair in result.get("tests", {}).get("pairs", []):
        first, second = pair["systems"]
        for metric, found in pair["metrics"].items():
            if found["real"]:
                up = (found["difference"] > 0) != read_as(metric).lower_is_better
                winner, loser = (second, first) if up else (first, second)
                beaten.setdefault((winner, metric), set()).add(loser)
    return beaten


def score_rows(result: Mapping, metrics: Sequence[str] | None = None, intervals: bool = True) -> list[list[str]]:
    """The table's cells, heading first. metrics: which, in order; None takes all that some system has."""
    systems = result["systems"]
    letters = dict(zip(systems, ascii_lowercase)) if len(systems) > 1 else {}
    beaten = really_better(result)
    flat = {name: flat_scores(scores) for name, scores in systems.items()}
    metrics = metrics or list(dict.fromkeys(metric for scores in flat.values() for metric in scores))
    rows = [["metric", *(f"{letters[name]}: {label_of(name)}" if letters else label_of(name) for name in systems)]]
    for metric in metrics:
        row = [label_of(metric)]
        for name, scores in flat.items():
            if metric not in scores:
                row.append("–")
                continue
            ends = systems[name].get("intervals", {}).get(metric) if intervals else None
            marks = "".join(sorted(letters[other] for other in beaten.get((name, metric), ())))
            row.append(f"{scores[metric]:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "") + (f" > {marks}" if marks else ""))
        rows.append(row)
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines with columns of one width, the same in every terminal and notebook."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def explanation(result: Mapping) -> str:
    """One sentence on what the marks mean and how they were found; empty for a single system."""
    tests = result.get("tests")
    if not tests:
        return ""
    return (f'"> a": better than system a, and the difference is real ({tests["method"]} with {tests["trials"]} trials, seed {tests["seed"]}; '
            "Holm-adjusted p below 0.05). Brackets: 95 % intervals.")


def print_scores(result: Mapping, console=None) -> None:
    """Prints the table, what its marks mean, and what could not be computed, to the terminal or a notebook."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    heading, *rows = score_rows(result)
    table = Table(title=f"{next(iter(result['systems'].values()))['n']} pictures, language {result['language']}, words by {result['tokenizer']}",
                  title_justify="left")
    for place, name in enumerate(heading):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if result.get("tests"):
        console.print(explanation(result), style="dim", highlight=False)
    for metric, why in result.get("unavailable", {}).items():
        console.print(f"{metric} was not computed: {why}", style="dim", highlight=False)
