"""The `captionlab` command: thin, each command a few lines around a helper.

Nothing heavy is imported before a command needs it, so `captionlab --help` answers at once. Faults meant for people
(`CaptionLabError`) come out as one line, `error: …`, with exit code 1; wrong usage exits with 2, Ctrl-C with 130.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperGroup

from helpers.core.errors import CaptionLabError, InputError, is_disk_full
from helpers.core.paths import NOTEBOOKS

Language = Literal["en", "zh"]
Format = Literal["llama-factory", "coco", "jsonl"]
Tokenizer = Literal["ptb", "jieba", "char", "none"]


class Commands(TyperGroup):
    """The group of all commands; turns faults into one line and an exit code, and leaves bugs their traceback."""

    def invoke(self, ctx: typer.Context) -> object:
        """Run the command asked for."""
        try:
            return super().invoke(ctx)
        except CaptionLabError as error:
            _complain(f"error: {error}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            _complain("stopped; the same command continues where long work was")
            raise typer.Exit(130) from error
        except BrokenPipeError as error:
            # Whoever read our output (head, less) has left; without this, Python complains once more while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        except Exception as error:
            if not is_disk_full(error):
                raise
            _complain("error: the disk is full: free some space and run the same command again; what was finished is kept.")
            raise typer.Exit(1) from error


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]},
                  help="Teach a small vision-language model to describe pictures: draw, label, train, describe, score.")


def main() -> None:
    """Entry point of the console script."""
    app()


def _complain(sentence: str) -> None:
    """One sentence to stderr, on a line of its own also after an unfinished progress bar."""
    typer.echo(sentence, err=True)


@app.command()
def doctor(profile: Annotated[str | None, typer.Option(help="tiny or lab; else CAPTIONLAB_PROFILE, else tiny")] = None) -> None:
    """What this machine has and lacks, what each lack disables, how to mend it. Exit code 1 when tiny cannot run."""
    from rich.console import Console

    from helpers import environment
    from helpers.core.profiles import load_profile

    console = Console()
    chosen = load_profile(profile)
    with console.status("looking around"):
        checks = environment.examine(chosen)
    console.print(environment.table(checks))
    fit = environment.works(checks)
    console.print("The tiny profile works here: make course" if fit else "The tiny profile does not work here yet: mend what is marked needed.")
    raise typer.Exit(0 if fit else 1)


@app.command()
def scenes(
    out: Annotated[Path, typer.Option(help="folder for Train/, Val/ and scenes.jsonl, the truth")],
    train: Annotated[int, typer.Option(min=0, help="number of training scenes")],
    evaluation: Annotated[int, typer.Option("--eval", min=0, help="number of evaluation scenes")],
    seed: Annotated[int, typer.Option(help="same seed, same pixels")] = 0,
) -> None:
    """Draw scenes whose contents are known exactly."""
    from helpers.core.scenes import draw_scenes

    drawn = draw_scenes(out, train=train, eval=evaluation, seed=seed)
    typer.echo(f"{len(drawn)} scenes in {out}; their truth in {out / 'scenes.jsonl'}")


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="folder for the finished student")],
    work: Annotated[Path, typer.Option(help="folder for checkpoints, from which a killed run continues")] = Path("results/pretraining"),
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Make the tiny student from nothing: its eyes first, then short captions (up to 90 minutes on two cores)."""
    from helpers.core import pretrain as pretraining

    typer.echo(f"the student is in {pretraining.pretrain(out, work=work, seed=seed)}")


@app.command()
def pretrain_encoder(
    out: Annotated[Path, typer.Option(help="folder for the finished encoder")],
    work: Annotated[Path, typer.Option(help="folder for checkpoints, from which a killed run continues")] = Path("results/encoder-pretraining"),
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Make the baseline's CNN encoder from nothing (about 30 minutes on one core, the drawing included)."""
    from helpers.core import encoder_pretraining

    typer.echo(f"the encoder is in {encoder_pretraining.pretrain_encoder(out, work=work, seed=seed)}")


@app.command()
def label(
    images: Annotated[Path, typer.Option(help="folder of pictures")],
    store: Annotated[Path, typer.Option(help="SQLite file for the labels; made when missing, continued when there")],
    dimension: Annotated[list[str], typer.Option(help="what to ask about; may be given several times")] = ["main"],
    language: Annotated[Language, typer.Option(help="of questions and answers")] = "en",
    model: Annotated[str, typer.Option(help="the teacher's model id")] = "qwen3-vl-plus",
    rpm: Annotated[float | None, typer.Option(help="requests a minute; default: the key's quota, else data/prices.yaml")] = None,
    tpm: Annotated[float | None, typer.Option(help="tokens a minute; default as for --rpm")] = None,
    concurrency: Annotated[int | None, typer.Option(help="requests under way at once; default: as many as the pace needs")] = None,
    max_cost: Annotated[float | None, typer.Option(metavar="YUAN", help="stop before this run costs more; what was done is kept")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for one answer")] = 120.0,
    limit: Annotated[int | None, typer.Option(help="at most so many pictures, the first by path")] = None,
    seed: Annotated[int, typer.Option(help="sampling seed; part of what makes a label the same")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print pictures, requests, tokens and cost; send nothing")] = False,
) -> None:
    """Ask the teacher about every picture. Without DASHSCOPE_API_KEY and DASHSCOPE_HTTP_BASE_URL that is the offline stand-in.

    The exit code is 1 where requests failed and no label was got.
    """
    from helpers.dataset import label_images

    report = label_images(images, store, dimension, language, model, rpm, concurrency, limit, dry_run, seed=seed, tpm=tpm,
                          max_cost=max_cost, timeout=timeout, say=typer.echo)
    typer.echo(report)
    raise typer.Exit(1 if report.failed and not report.labelled else 0)


@app.command()
def build(
    store: Annotated[Path, typer.Option(help="SQLite file that `captionlab label` wrote")],
    out: Annotated[Path, typer.Option(help="folder for train.json and eval.json")],
    eval_fraction: Annotated[float | None, typer.Option(help="share of pictures outside Train/ and Val/ that goes to eval.json")] = None,
    seed: Annotated[int, typer.Option(help="of that share")] = 0,
    near_duplicates: Annotated[bool, typer.Option(help="keep pictures that show the same on one side")] = True,
) -> None:
    """Write train.json and eval.json from a label store: answers cleaned, near-duplicate pictures on one side."""
    from helpers import dataset

    typer.echo(dataset.build(store, out, eval_fraction, seed=seed, near_duplicates=near_duplicates))


@app.command()
def check(files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="train.json, eval.json or output.json; "
                                                      "of several, also that no two share a picture")]) -> None:
    """Name every fault of a conversation file with its sample; exit code 1 if there is any."""
    from helpers.core.conversations import check_conversations, shared_pictures

    faults = {file: check_conversations(file) for file in files}
    for file, found in shared_pictures(files).items():
        faults[file] += found
    for file, found in faults.items():
        for fault in found:
            typer.echo(f"{fault.sample}: {fault.message}")
        typer.echo(f"{file}: {len(found)} fault(s)" if found else f"{file}: no fault")
    raise typer.Exit(1 if any(faults.values()) else 0)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="train.json or eval.json; both may go to one folder, one after the other")],
    format: Annotated[Format, typer.Option(help="LLaMA-Factory, COCO captions, or lines of JSON as `datasets` reads them")],
    out: Annotated[Path, typer.Option(help="folder for the files and copies of the pictures")],
) -> None:
    """Write a conversation file in the format of another tool, with its pictures."""
    from helpers import dataset

    typer.echo(dataset.export(file, format, out))


@app.command()
def baseline(
    data: Annotated[Path, typer.Option(help="train.json to learn from")],
    out: Annotated[Path, typer.Option(help="folder for the captioner; `captionlab caption --model` takes it")],
    evaluation: Annotated[Path | None, typer.Option("--eval", help="eval.json, a part of which draws the curves and decides nothing")] = None,
    attention: Annotated[bool, typer.Option(help="Show, Attend and Tell; without: Show and Tell")] = True,
    encoder: Annotated[Literal["pretrained", "scratch", "resnet18"], typer.Option(
        help="the kit's CNN, frozen; the same from random weights, trained along; torchvision's ResNet-18, which needs a network once")] = "pretrained",
    unit: Annotated[Literal["word", "character"], typer.Option(help="what a token is; characters in Chinese only")] = "word",
    least: Annotated[int, typer.Option(min=1, help="how often a token must be in the captions to be learned; the rest is <unk>")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="passes over the data; default: the recipe's")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="the highest; default: the recipe's")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same captions")] = 0,
    features: Annotated[Path | None, typer.Option(help="file that keeps what a frozen encoder sees; default: features.db beside the folder")] = None,
) -> None:
    """Train the CNN-RNN captioner, the classic before vision-language models; stopped, it continues after its last epoch."""
    from dataclasses import replace

    from helpers import baseline as room

    given = {name: value for name, value in (("epochs", epochs), ("learning_rate", learning_rate)) if value is not None}
    recipe = replace(room.Recipe(attention=attention, encoder=encoder, unit=unit, least=least, seed=seed), **given)
    typer.echo(f"{room.train(data, out, evaluation, recipe, features)}; it is in {out}")


@app.command()
def caption(
    output: Annotated[Path, typer.Option(help="output.json to write")],
    model: Annotated[str, typer.Option(help="tiny, a folder, or a model id of the Hugging Face hub")] = "tiny",
    adapter: Annotated[Path | None, typer.Option(help="folder with a LoRA adapter")] = None,
    images: Annotated[Path | None, typer.Option(help="folder of pictures to describe")] = None,
    data: Annotated[Path | None, typer.Option(help="eval.json whose pictures and questions to use")] = None,
    question: Annotated[str | None, typer.Option(help="ask this instead of the file's or the course's main question")] = None,
    language: Annotated[Language, typer.Option(help="of the course's main question")] = "en",
    batch_size: Annotated[int, typer.Option(min=1, help="pictures described at once")] = 32,
    num_beams: Annotated[int, typer.Option(min=1, help="1: greedy; more: beam search")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="longest answer in tokens")] = 256,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="run the Python code that comes with this very model")] = False,
) -> None:
    """Let a model describe pictures, and write its words as output.json."""
    if (images is None) == (data is None):
        raise typer.BadParameter("give either --images DIR or --data eval.json")
    from helpers.core.captions import as_seen_from, caption_samples, samples_from_folder
    from helpers.core.conversations import read_conversations, write_conversations
    from helpers.core.prompts import question as course_question

    if data is not None:
        samples = as_seen_from(read_conversations(data), output)
    else:
        samples = samples_from_folder(images, question or course_question("main", language), output)
    from helpers.core.student import load_student

    student = load_student(model, adapter, trust_remote_code=trust_remote_code)
    if remark := student.remark([question or sample.question for sample in samples]):
        typer.echo(remark)
    answered = caption_samples(student, samples, question, batch_size=batch_size, num_beams=num_beams, max_new_tokens=max_new_tokens)
    typer.echo(f"{len(answered)} descriptions in {write_conversations(output, answered)}")


@app.command()
def merge(
    adapter: Annotated[Path, typer.Option(help="folder with a LoRA adapter, as finetune_lora.sh leaves it")],
    output: Annotated[Path, typer.Option(help="folder for the merged model; must be new or empty")],
    model: Annotated[str, typer.Option(help="the model that the adapter was trained on: tiny, a folder, or a model id of the hub")] = "tiny",
    precision: Annotated[Literal["same", "fp32", "bf16"], typer.Option(help="of the weights; same: as the model's")] = "same",
) -> None:
    """Merge an adapter into its model: a folder like any other model's, which needs no adapter any more."""
    from helpers.finetuning import merge_adapter

    typer.echo(f"the merged model is in {merge_adapter(model, adapter, output, precision)}")


@app.command()
def metrics(
    references: Annotated[list[Path], typer.Option(help="eval.json; its answers are the references. Several: one file an annotator")],
    predictions: Annotated[list[Path], typer.Option(help="output.json of a system; may be given several times")],
    language: Annotated[Language, typer.Option(help="of the captions")],
    tokenizer: Annotated[Tokenizer | None, typer.Option(help="default: ptb for en, jieba for zh")] = None,
    output: Annotated[Path | None, typer.Option(help="metrics.json to write")] = None,
    truth: Annotated[Path | None, typer.Option(help="scenes.jsonl of drawn scenes: grades the captions against what the scenes hold")] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="score a caption without words as zero")] = False,
    seed: Annotated[int, typer.Option(help="of intervals and tests")] = 0,
    bertscore_model: Annotated[str | None, typer.Option(help="folder or hub id; default: the language's usual one, if it is on this machine")] = None,
    bertscore_layer: Annotated[int | None, typer.Option(min=0, help="whose states BERTScore compares")] = None,
    clip_model: Annotated[str | None, typer.Option(help="folder or hub id for CLIPScore")] = None,
    charts: Annotated[Path | None, typer.Option(help="folder to draw charts into")] = None,
) -> None:
    """Score systems against the references: BLEU, METEOR, ROUGE-L, CIDEr and more, with intervals and tests of every difference."""
    from helpers.core.metric_tables import print_scores
    from helpers.core.neural_scores import Models
    from helpers.metrics import draw_charts, measure, write_metrics

    scored = measure(references, name_systems(predictions), language, tokenizer, truth=truth, allow_empty=allow_empty, seed=seed,
                     models=Models(bertscore_model, bertscore_layer, clip_model))
    print_scores(scored.result)
    if output is not None:
        typer.echo(f"scores in {write_metrics(scored.result, output)}")
    if charts is not None:
        typer.echo(f"{len(draw_charts(scored, charts))} charts in {charts}")


@app.command()
def fetch(
    what: Annotated[Literal["spice", "bertscore", "clipscore"], typer.Argument(help="the metric whose program or model is wanted")],
    language: Annotated[Language, typer.Option(help="of the captions, for bertscore and clipscore")] = "en",
) -> None:
    """Download what a metric needs, which nothing else here ever does: SPICE's parser, BERTScore's or CLIPScore's model."""
    from helpers.core.neural_scores import BERT, CLIP, find_model
    from helpers.core.spice import fetch_corenlp

    if what == "spice":
        typer.echo("\n".join(map(str, fetch_corenlp())))
    else:
        metric, model = ("BERTScore", BERT[language][0]) if what == "bertscore" else ("CLIPScore", CLIP[language])
        typer.echo(find_model(model, metric, download=True))


def name_systems(files: list[Path]) -> dict[str, Path]:
    """A system's name for each file: its folder for results/<system>/output.json, otherwise its stem.

    Raises: InputError when two files would get one name.
    """
    systems: dict[str, Path] = {}
    for file in files:
        name = file.resolve().parent.name if file.stem == "output" else file.stem
        if name in systems:
            raise InputError(f"{systems[name]} and {file} would both be called {name!r}; rename one of the files or folders.")
        systems[name] = file
    return systems


@app.command()
def plan(
    model: Annotated[str, typer.Option(help="tiny, a folder with a config.json, openbmb/MiniCPM-V-4.6 or openbmb/MiniCPM-V-2")] = "tiny",
    strategy: Annotated[list[str], typer.Option(help="lora or full; both where it is not given")] = ["lora", "full"],
    zero: Annotated[int, typer.Option(help="ZeRO's stage: 0 (no DeepSpeed), 2 or 3")] = 2,
    offload: Annotated[Literal["none", "optimizer", "all"], typer.Option(help="what lives in the CPU's memory; all: parameters too")] = "none",
    gpus: Annotated[str, typer.Option(help="numbers of GPUs, with commas")] = "1,2,4,8",
    sequence_length: Annotated[int, typer.Option(help="tokens of the longest sample, its picture's among them")] = 2048,
    micro_batch: Annotated[int, typer.Option(help="samples that go through a GPU at once")] = 1,
    gradient_checkpointing: Annotated[bool, typer.Option(help="compute activations again instead of keeping them")] = True,
    precision: Annotated[Literal["bf16", "fp16", "fp32"], typer.Option()] = "bf16",
    lora_r: Annotated[int, typer.Option(help="LoRA's rank")] = 64,
    tune_vision: Annotated[bool, typer.Option(help="the vision tower is trained along")] = True,
    views: Annotated[int | None, typer.Option(help="pieces a picture is cut into, with the whole one; default: the model's most")] = None,
    deepspeed: Annotated[Path | None, typer.Option(help="take stage, offloading and buffers from this DeepSpeed configuration")] = None,
    measured: Annotated[list[Path], typer.Option(help="folder of a finished run to compare with; may be given several times")] = [],
    chart: Annotated[Path | None, typer.Option(help="picture of the plans to write (.png or .svg)")] = None,
) -> None:
    """Foresee the memory of each GPU, from a model's configuration alone, and say how far off that was where it was measured."""
    from helpers.core.memory_report import plan_command

    settings = dict(zero=zero, offload=offload, sequence_length=sequence_length, micro_batch=micro_batch, checkpointing=gradient_checkpointing,
                    precision=precision, rank=lora_r, tune_vision=tune_vision, views=views)
    plan_command(model, strategy, gpus, settings, deepspeed, measured, chart, say=typer.echo)


@app.command()
def course(
    profile: Annotated[str | None, typer.Option(help="tiny or lab; else CAPTIONLAB_PROFILE, else tiny")] = None,
    images: Annotated[Path | None, typer.Option(help="your own pictures in place of drawn scenes; needs a real teacher")] = None,
    out: Annotated[Path, typer.Option(help="folder for everything that the course makes")] = Path("results"),
    language: Annotated[Language | None, typer.Option(help="default: the profile's")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same table")] = 0,
    train: Annotated[int, typer.Option(min=2, help="training scenes to draw")] = 1957,
    evaluation: Annotated[int, typer.Option("--eval", min=2, help="evaluation scenes to draw")] = 368,
) -> None:
    """The whole course in one run, from pictures to a report; killed, it continues where it stopped."""
    from helpers.core.profiles import load_profile
    from helpers.course import run_course

    run_course(load_profile(profile), images, out, seed=seed, language=language, train=train, eval=evaluation, say=typer.echo)
    typer.echo(f"the report: {out / 'report.html'}")


@app.command()
def splits(
    out: Annotated[Path, typer.Option(help="folder; a folder a split in it, with its pictures and scenes.jsonl, the truth")],
    number: Annotated[int, typer.Option(min=1, help="plans; each split holds those of them that it can change")] = 150,
    seed: Annotated[int, typer.Option(help="same seed, same pixels")] = 0,
) -> None:
    """Draw test pictures that differ from the evaluation scenes in one thing each: colours, places, kinds, crowds, size, style."""
    from helpers.generalization import draw_splits

    for name, count in draw_splits(out, number, seed).items():
        typer.echo(f"{name}: {count} pictures in {out / name.replace(' ', '-')}")


@app.command()
def study(
    what: Annotated[Literal["noise", "held-out", "systems"], typer.Argument(help="noise: how good must labels be; held-out: what labels lack; "
                                                                            "systems: where each system breaks")] = "noise",
    out: Annotated[Path, typer.Option(help="folder for the result, and for the work, from which a killed run continues")] = Path("results/studies"),
    system: Annotated[list[str], typer.Option(metavar="NAME=FOLDER", help="systems: a model's or adapter's folder; default: the pretrained student and all in --results")] = [],
    results: Annotated[Path, typer.Option(help="systems: where `captionlab course` trained them")] = Path("results"),
    number: Annotated[int | None, typer.Option(help="systems: plans of each split (150)")] = None,
    corrupted: Annotated[int | None, typer.Option(help="systems: pictures of each corruption and strength (100)")] = None,
    asked: Annotated[int | None, typer.Option(help="systems: questions of each lesson of pretraining (60)")] = None,
    train: Annotated[int | None, typer.Option(help="noise, held-out: scenes to learn from (480)")] = None,
    evaluation: Annotated[int | None, typer.Option("--eval", help="noise, held-out: scenes to be examined with (200)")] = None,
    epochs: Annotated[float | None, typer.Option(help="noise, held-out: passes over the scenes (3)")] = None,
    seeds: Annotated[str | None, typer.Option(help="noise, held-out: one training each, with commas (0,1)")] = None,
    model: Annotated[str | None, typer.Option(help="noise, held-out: what is fine-tuned (tiny)")] = None,
    language: Annotated[Language, typer.Option(help="of questions and answers")] = "en",
) -> None:
    """Measure what takes longer than a notebook, and write <out>/<what>.json, which notebook 07 then shows in place of the kit's own."""
    from helpers.generalization import study_command

    given = dict(number=number, corrupted=corrupted, asked=asked, train=train, eval=evaluation, epochs=epochs, seeds=seeds, model=model)
    typer.echo(f"the result is in {study_command(what, out, system, results, language, given, say=typer.echo)}")


@app.command()
def chat(
    ip: Annotated[str, typer.Option(help="address to listen on; one that other machines reach asks visitors for a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 8866,
    token: Annotated[str | None, typer.Option(envvar="CAPTIONLAB_CHAT_TOKEN", help="asked of visitors; default: none on 127.0.0.1, else a random one")] = None,
    visitors: Annotated[int, typer.Option(min=1, help="at most so many at a time; the next one is asked to wait")] = 8,
    idle_minutes: Annotated[float, typer.Option(min=0.02, help="a conversation ends that was not used for so long")] = 30.0,
    share: Annotated[bool, typer.Option(help="one set of models in memory for all visitors, answering in turn, or one for each")] = True,
    notebook: Annotated[Path, typer.Option(help="the notebook to serve", show_default="notebooks/06_chat.ipynb")] = NOTEBOOKS / "06_chat.ipynb",
) -> None:
    """The chat as a web page, until Ctrl-C: a conversation of their own for each visitor, no code, no files."""
    from helpers.core.chat_server import Settings, serve

    serve(Settings(notebook, ip, port, token, visitors, idle_minutes, share=share), say=typer.echo)


@app.command("release")
def release_notebooks(
    out: Annotated[Path, typer.Option(help="folder for the students' edition")] = Path("release"),
    notebooks: Annotated[Path, typer.Option(help="folder of the notebooks with solutions", show_default="notebooks")] = NOTEBOOKS,
) -> None:
    """Write the students' edition of the notebooks: solutions and hidden tests cut, checks kept."""
    from helpers.core.assignments import release

    typer.echo(f"{len(release(out, notebooks))} notebooks in {out}")


@app.command()
def grade(
    submissions: Annotated[Path, typer.Option(help="folder of folders: STUDENT/NN_name.ipynb")],
    output: Annotated[Path | None, typer.Option(help="CSV to write; default: marks.csv in that folder. What it says was graded stays")] = None,
    notebooks: Annotated[Path, typer.Option(help="folder of the notebooks with solutions", show_default="notebooks")] = NOTEBOOKS,
    timeout: Annotated[int, typer.Option(min=1, help="seconds for one cell; a notebook has four times as much")] = 300,
    keep: Annotated[Path | None, typer.Option(help="folder for the graded notebooks, with what every cell showed, hidden tests among it")] = None,
) -> None:
    """Grade a class. This runs the students' code as you, without your keys: where you do not trust it, grade in a container."""
    from helpers.core.submissions import grade_submissions

    grade_submissions(submissions, output, notebooks, timeout=timeout, keep=keep, say=typer.echo)


@app.command()
def edition(
    language: Annotated[Literal["zh"], typer.Option(help="of the notebooks' text")] = "zh",
    check: Annotated[bool, typer.Option("--check", help="name every text whose English and Chinese do not go together; exit code 1 if any")] = False,
    seal: Annotated[list[str], typer.Option(metavar="NN", help="say that you read both sides of this notebook (04) or document (course_map)")] = [],
    draft: Annotated[list[str], typer.Option(metavar="NN", help="add what has no Chinese yet, in English, to be translated in place")] = [],
    out: Annotated[Path | None, typer.Option(help="folder for the notebooks; default: notebooks-zh")] = None,
) -> None:
    """Build the Chinese edition of the notebooks, ready to run, or keep it in step with the English one."""
    from helpers.core.editions import edition_command

    if not edition_command(check, seal, draft, out, say=typer.echo):
        raise typer.Exit(1)


@app.command()
def standin(
    scenes: Annotated[Path | None, typer.Option(help="folder of drawn scenes, or a scenes.jsonl; without it, photographs only")] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 0,
    seed: Annotated[int, typer.Option(help="of the mistakes it makes")] = 0,
) -> None:
    """Run the offline stand-in for Qwen-VL in the foreground: DashScope's protocol on 127.0.0.1, until Ctrl-C."""
    from helpers.core.standin import serve

    serve(scenes, port, seed=seed, say=typer.echo)


if __name__ == "__main__":
    main()
