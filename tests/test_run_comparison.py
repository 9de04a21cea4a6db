"""Comparing runs: the table's numbers are those of the folders, finished or not, and the figure draws them."""

import json

import pytest

from helpers.core import runs
from helpers.core.errors import InputError
from helpers.core.figures import SYSTEM_COLOURS
from helpers.core.training_figures import comparison_figure, running_mean
from helpers.finetuning import compare_runs, load_run


def make_run(folder, losses, evaluations=(), of=None, finished=True, rate=1e-3, **facts):
    """A run's folder as finetune.py leaves it: one loss a step, two seconds each, four samples a step on two processes."""
    folder.mkdir(parents=True)
    lines = [{"step": 0, "of": of or len(losses)}]
    lines += [{"step": step, "loss": loss, "learning_rate": rate / step, "seconds": 2.0 * step} for step, loss in enumerate(losses, 1)]
    lines += [{"step": step, "eval_loss": loss, "seconds": 2.0 * step} for step, loss in evaluations]
    (folder / runs.PROGRESS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    runs.write_json(folder / runs.SETTINGS, {"learning_rate": str(rate), "use_lora": "true", "per_device_train_batch_size": "2",
                                             "gradient_accumulation_steps": "1", "processes": 2})
    if finished:
        runs.write_json(folder / runs.FINISHED, {
            "strategy": "lora", "model": "tiny", "seconds": 2.0 * len(losses), "steps": len(losses), "samples_per_second": 2.0,
            "peak_memory": 3 * 2**30, "memory": {"resident": [2**30, 2 * 2**30]}, "launch": None, **facts})
    return folder


def as_dictionary(comparison):
    """{column: {fact: cell}} of the table."""
    heading, *rows = comparison.rows
    return {name: {row[0]: row[place] for row in rows} for place, name in enumerate(heading) if place}


def test_the_table_says_what_the_folders_hold(tmp_path):
    one = make_run(tmp_path / "lora", [4, 3, 2, 1.5], [(2, 2.5), (3, 2.25), (4, 2.75)])
    other = make_run(tmp_path / "slow", [4, 3.9], rate=1e-6)
    comparison = compare_runs(load_run(one), other)
    table = as_dictionary(comparison)
    assert list(table) == ["LoRA", "slow"]
    assert table["LoRA"] == {
        "strategy": "LoRA", "state": "finished", "optimizer steps": "4", "peak learning rate": "0.001", "final loss, smoothed": "1.5",
        "final evaluation loss": "2.75", "lowest evaluation loss": "2.25 at step 3", "seconds": "8.0", "samples a second": "2.0",
        "peak memory, GiB a process": "1.00, 2.00"}
    assert table["slow"]["peak learning rate"] == "1e-06" and table["slow"]["final evaluation loss"] == "–"
    assert "2.25 at step 3" in str(comparison) and len({len(line.split("  ")[0]) for line in str(comparison).splitlines()}) > 1
    assert "<td style='text-align:right'>2.25 at step 3</td>" in comparison.to_html()


def test_a_run_under_way_is_read_as_far_as_it_has_come(tmp_path):
    folder = make_run(tmp_path / "growing", [4, 3, 2], [(2, 2.5)], of=10, finished=False)
    with (folder / runs.PROGRESS).open("a") as file:
        file.write('{"step": 4, "lo')  # being written
    table = as_dictionary(compare_runs(folder))["growing"]
    assert table["state"] == "step 3 of 10" and table["strategy"] == "LoRA" and table["final loss, smoothed"] == "2"
    assert table["seconds"] == "6.0" and table["samples a second"] == "2.0"  # 3 steps of 4 samples in 6 s
    assert "peak memory, GiB a process" not in table


def test_columns_get_the_part_of_the_path_that_tells_runs_apart(tmp_path):
    folders = [make_run(tmp_path / system / "model", [2.0]) for system in ("lora", "full")]
    assert list(compare_runs(*folders).records) == ["lora", "full"]
    assert list(compare_runs(*folders, names=["a", "b"]).records) == ["a", "b"]
    assert list(compare_runs(folders[0]).records) == ["model"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    run = make_run(tmp_path / "run", [2.0])
    for given, names, words in [((), None, "no run"), ((tmp_path,), None, "holds no training run"), ((run, run), None, "given twice"),
                                ((run,), ["a", "b"], "a name of its own")]:
        with pytest.raises(InputError, match=words) as caught:
            compare_runs(*given, names=names)
        assert "\n" not in str(caught.value)


def test_the_figure_draws_every_run_in_its_own_colour(tmp_path):
    names = ("lora", "full", "other", "another")
    comparison = compare_runs(*[make_run(tmp_path / name, [4, 3, 2, 1], [(4, 1 + place)], rate=10.0**-(3 + place)) for place, name in enumerate(names)])
    figure = comparison.figure
    loss, evaluation, rate, speed, memory = figure.axes
    colours = [line.get_color() for line in loss.get_lines()]
    assert colours[:2] == [SYSTEM_COLOURS["lora"], SYSTEM_COLOURS["full"]] and len(set(colours)) == 4
    assert [list(line.get_ydata()) for line in evaluation.get_lines()] == [[1], [2], [3], [4]]
    assert [line.get_ydata()[0] for line in rate.get_lines()] == pytest.approx([1e-3, 1e-4, 1e-5, 1e-6])
    assert all(value == pytest.approx(2.0) for line in speed.get_lines() for value in line.get_ydata())
    assert [bar.get_height() for bar in memory.patches] == pytest.approx([1, 2] * 4)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["LoRA", "full", "other", "another"]
    with pytest.raises(InputError, match="no run"):
        comparison_figure({}, {}, {})


def test_a_terminal_gets_the_table(tmp_path, capsys):
    comparison = compare_runs(make_run(tmp_path / "run", [2.0]))
    comparison._ipython_display_()
    assert capsys.readouterr().out == f"{comparison}\n"


def test_running_mean():
    assert running_mean([4, 2, 0, 0], 2) == [4, 3, 1, 0] and running_mean([], 3) == []
