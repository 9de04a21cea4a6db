"""What the documents say is true: links lead somewhere, commands and options exist, numbers are the code's.

README, guides, manuals, CONTRIBUTING and the Markdown of notebooks, in both languages; `tests/documents.py` takes them apart. What only a reader can
judge is not tested here. finetune/readme.md has further tests of its own, in test_finetune_manual.py.
"""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
import typer.main
import yaml
from documents import Command, read_documents

from helpers import cli
from helpers.core.paths import ROOT

DOCUMENTS = {document.name: document for document in read_documents()}
READMES = ("README.md", "README.zh-CN.md")
COMMANDS = typer.main.get_command(cli.app).commands
UsageError = typer.BadParameter.__mro__[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# Words in capitals that stand for what the reader puts there, with something that every option takes.
STANDS_FOR = {"N": "1", "NN": "01", "YUAN": "1", "SECONDS": "1"}
# Programs of others, whose options are not ours to know.
OTHERS = {"apt", "cd", "conda", "cp", "git", "hf", "jupyter", "ln", "ls", "mkdir", "nice", "pip", "py", "sbatch", "source", "ssh",
          "tar", "tensorboard", "uv"}
# Settings that other programs read; ours are found in the code.
SETTINGS = {"CUDA_VISIBLE_DEVICES", "HF_ENDPOINT", "HF_HUB_OFFLINE", "OMP_NUM_THREADS"}
# Made by runs, so not in the repository; and names that stand for others.
MADE = ("results", "finetune/data", "finetune/output", "notebooks-zh", "dist", "release", "helpers/name.py", "helpers/core/name.py", "tests/test_name.py",
        "notebooks/NN_name.ipynb", "notebooks/zh/NN_name.md", "docs/zh/NAME.md", "docs/NAME.md", "notebooks/NN_name", "data/x.sqlite")


@cache
def every_file() -> frozenset[str]:
    """What git carries or would carry, and the folders of it, from the repository's root."""
    answer = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    files = answer.stdout.splitlines() if answer.returncode == 0 else [
        path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file() and not path.relative_to(ROOT).as_posix().startswith((".venv", *MADE))]
    present = [name for name in files if (ROOT / name).exists()]
    return frozenset({*present, *(folder.as_posix() for name in present for folder in Path(name).parents if folder.name)})


@pytest.fixture(params=DOCUMENTS.values(), ids=lambda document: document.name)
def document(request):
    """One document after the other."""
    return request.param


def test_links_lead_somewhere(document):
    for link in document.links():
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("https", "http", "mailto", "data", "attachment"), link
            assert parts.scheme not in ("https", "http") or re.fullmatch(r"[\w.-]+\.[a-z]{2,}|127\.0\.0\.1:\d+", parts.netloc), link
            assert not re.search(r"\s|[，。；）]", link), f"{link}: what follows the address was taken into it"
            continue
        target = (document.folder / unquote(parts.path)).resolve() if parts.path else document.path
        assert target == ROOT or target.is_relative_to(ROOT), f"{link} leads out of the repository"
        name = target.relative_to(ROOT).as_posix()
        assert name in every_file(), f"there is no {name} in the repository"
        if parts.fragment:
            assert unquote(parts.fragment) in DOCUMENTS[name].anchors(), f"{name} has no heading #{parts.fragment}"


def test_a_link_that_leads_nowhere_is_found(tmp_path, monkeypatch):
    wrong = type(DOCUMENTS["README.md"])("README.md", ("[a](nothing.md) [b](#no-such-heading) <img src='docs/none.png'>",))
    assert list(wrong.links()) == ["nothing.md", "#no-such-heading", "docs/none.png"]
    for link in wrong.links():
        with pytest.raises(AssertionError, match="nothing.md|no-such-heading|none.png"):
            test_links_lead_somewhere(type(wrong)("README.md", (f"[x]({link})",)))


def test_commands_and_options_exist(document):
    for command in document.commands():
        try:
            check_command(command)
        except (AssertionError, UsageError) as error:
            raise AssertionError(f"{document.name}: {command.text!r}: {getattr(error, 'message', error)}") from None


def check_command(command: Command) -> None:
    """Raises AssertionError, or the command line's own UsageError, for what is not there."""
    for name in command.settings:
        assert name in SETTINGS | our_settings(), f"nothing reads the setting {name}"
    if not command.words:
        return
    program, arguments = command.program, list(command.words[1:])
    if program == "captionlab":
        check_captionlab(arguments, command.whole)
    elif program == "make":
        check_make(arguments)
    elif program == "bash":
        check_script(arguments, command.settings)
    elif re.fullmatch(r"python[\d.]*|pytest", program):
        check_python(program, arguments)
    else:
        assert not command.whole or program in OTHERS, f"{program} is none of the programs that documents use"


def check_captionlab(arguments: list[str], whole: bool) -> None:
    """Of a whole command, that it would start; of one in a sentence, that what it names exists."""
    if not arguments or arguments in (["--help"], ["-h"]):
        return
    name, *rest = (STANDS_FOR.get(word, word) for word in arguments)
    assert name in COMMANDS, f"there is no captionlab {name}"
    command, rest = COMMANDS[name], [word for word in rest if word not in ("--help", "…")]
    if whole:
        command.make_context(name, rest)
        return
    # In a sentence an option may stand without its value, and the rest of the command is understood.
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= options, f"captionlab {name} has no such option"


def test_options_that_do_not_exist_are_found():
    for text in ("captionlab labl", "captionlab scenes --trains 5", "make curse", "make chat ADRESS=1", "bash finetune/finetune_qlora.sh", "NPROCS=2 bash finetune/finetune_lora.sh",
                 "bash finetune/finetune_lora.sh --lora_rank 3", "python benchmarks/nothing.py", "python benchmarks/metrics.py --slowly"):
        with pytest.raises((AssertionError, UsageError)):
            check_command(only(text, whole=False))
    for text in ("captionlab scenes --out x", "captionlab label --images a --store b --language fr", "captionlab plan --zero two", "captoinlab doctor"):
        with pytest.raises((AssertionError, UsageError)):
            check_command(only(text, whole=True))


def only(text: str, whole: bool) -> Command:
    """The one command of a text."""
    from documents import read_commands

    command, = read_commands(text, "here", whole)
    return command


def check_make(arguments: list[str]) -> None:
    """Targets and variables stand in the Makefile."""
    targets = set(re.findall(r"^([\w.-]+):", MAKEFILE, re.MULTILINE)) | {".venv"}
    for word in arguments:
        name, equals, _ = word.partition("=")
        if equals:
            assert re.search(rf"\$\({name}\)", MAKEFILE), f"the Makefile has no variable {name}"
        else:
            assert word in targets, f"there is no make {word}"


def check_script(arguments: list[str], settings: dict[str, str]) -> None:
    """The script is there; it, or what it starts, reads the settings; options behind a training script are the trainer's."""
    script, *rest = arguments
    assert script in every_file(), f"there is no {script}"
    beside = "".join(path.read_text(encoding="utf-8") for path in (ROOT / script).parent.glob("*.sh"))
    for name in set(settings) - SETTINGS:
        assert re.search(rf"\b{name}\b", beside), f"{script} reads no {name}"
    if options := {word for word in rest if word.startswith("--")}:
        assert options <= training_options(), f"finetune.py has no {', '.join(options - training_options())}"


def check_python(program: str, arguments: list[str]) -> None:
    """A program that is there and knows the options, or a module that can be imported."""
    if program == "pytest" or arguments[:2] == ["-m", "pytest"]:
        for word in arguments:
            if word.startswith(("tests/", "notebooks/")) and word not in MADE:
                assert word.split("::")[0] in every_file(), f"there is no {word}"
    elif arguments[:1] == ["-m"]:
        assert importlib.util.find_spec(arguments[1]), f"there is no module {arguments[1]}"
    elif arguments and arguments[0].endswith(".py"):
        assert arguments[0] in every_file(), f"there is no {arguments[0]}"
        known = training_options() if arguments[0] == "finetune/finetune.py" else re.findall(r"--[\w-]+", (ROOT / arguments[0]).read_text(encoding="utf-8"))
        for word in arguments[1:]:
            assert not word.startswith("--") or word in {*known, "--help"}, f"{arguments[0]} has no {word}"


@cache
def our_settings() -> frozenset[str]:
    """Names in capitals that code, scripts and the Makefile use: what a document may set."""
    sources = [name for name in every_file() if name.endswith((".py", ".sh", ".sbatch")) and not name.startswith("tests/") or name == "Makefile"]
    return frozenset(found for name in sources for found in re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", (ROOT / name).read_text(encoding="utf-8")))


@cache
def training_options() -> frozenset[str]:
    """The options of finetune.py: ours and transformers'."""
    from dataclasses import fields

    specification = importlib.util.spec_from_file_location("finetune_for_documents", ROOT / "finetune" / "finetune.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return frozenset(f"--{one.name}" for group in (module.ModelArguments, module.DataArguments, module.LoraOptions, module.Arguments) for one in fields(group))


def test_files_and_names_in_backquotes_exist(document):
    here = document.path.parent.relative_to(ROOT).as_posix()
    for span in document.spans():
        path = span.split("::")[0].rstrip("/")
        if re.fullmatch(r"(?:\.ci|benchmarks|data|docs|finetune|helpers|notebooks|scripts|tests)/[\w./*-]*\w\*?", path):
            if not path.startswith(MADE):
                assert list(ROOT.glob(path)) or list((ROOT / here).glob(path)), f"there is no {path}"
        elif re.fullmatch(r"helpers(?:\.\w+)+(?:\(.*\))?", span):
            look_up(span.split("(")[0])


def look_up(dotted: str) -> None:
    """Imports what a dotted name names. Raises AssertionError where it is not there."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        if importlib.util.find_spec(".".join(parts[:1])) and (ROOT / Path(*parts[:end])).with_suffix(".py").is_file():
            found = importlib.import_module(".".join(parts[:end]))
            for name in parts[end:]:
                assert hasattr(found, name), f"{'.'.join(parts[:end])} has no {name}"
                found = getattr(found, name)
            return
    raise AssertionError(f"there is no {dotted}")


def test_python_in_documents_is_python_and_imports_what_is_there(document):
    for block in document.blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
                for alias in node.names:
                    look_up(f"{node.module}.{alias.name}")


def test_readmes_name_every_command_and_target():
    for name in READMES:
        named = [command for command in DOCUMENTS[name].commands() if command.words]
        assert {command.words[1] for command in named if command.program == "captionlab" and len(command.words) > 1} == set(COMMANDS)
        targets = set(re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split()) - {"help"}
        assert targets <= {word for command in named if command.program == "make" for word in command.words[1:]}


# Numbers that the code knows; in words only these.
NUMBERS = {"two": 2, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
           "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20}


def yuan(model: str, width: int, height: int, words: str, pictures: int) -> float:
    """What a dry run foresees for so many pictures of one size, each asked `words`."""
    from helpers.core.labelling import ANSWER_TOKENS
    from helpers.core.prices import MESSAGE_TOKENS, load_prices, text_tokens

    price = load_prices().model(model)
    return pictures * price.cost(price.image_tokens(width, height) + text_tokens(words) + MESSAGE_TOKENS, ANSWER_TOKENS)


@cache
def lab_student():
    """The size of MiniCPM-V 4.6, which takes seconds to count."""
    from helpers.core.model_sizes import read_size

    return read_size("openbmb/MiniCPM-V-4.6")


def planned(strategy: str, zero: int, offload: str = "none", gpus: int = 1, **options) -> float:
    """GiB of each GPU that the planner foresees for MiniCPM-V 4.6."""
    from helpers.core.memory import Setup, plan

    return plan(lab_student(), Setup(strategy, zero, offload, gpus=gpus, **options)).total / 2**30


def held(strategy: str) -> float:
    """GiB of main memory that the planner foresees where everything is offloaded, on one GPU."""
    from helpers.core.memory import Setup, plan

    return sum(plan(lab_student(), Setup(strategy, 3, "all", gpus=1)).host.values()) / 2**30


def facts() -> dict[str, tuple[str, str, tuple]]:
    """{what: (document, how it is said, what the code says)}. What a document does not say any more is a fault as well."""
    from helpers.core.chat_server import RETRY_SECONDS, Settings
    from helpers.core.intervals import RESAMPLES
    from helpers.core.marked import load_marked
    from helpers.core.photos import load_photos
    from helpers.core.prices import load_prices
    from helpers.core.profiles import load_profile
    from helpers.core.prompts import question
    from helpers.core.qwen_vl import MAX_SIDE, PATIENCE
    from helpers.core.techniques import load_techniques
    from helpers.course import EVAL, TRAIN
    from helpers.environment import MEMORY

    chat, prices, prompts, zh = Settings(Path()), load_prices(), len(load_techniques()), question("main", "zh")
    models, limits = list(prices.models), {(model.rpm, model.tpm) for model in prices.models.values()}
    sentences = sum(len(load_marked(language, half)) for language in ("en", "zh") for half in ("built", "held out"))
    photographs = {model: yuan(model, MAX_SIDE, MAX_SIDE * 3 // 4, zh, 100) for model in models}
    scenes = {model: yuan(model, 224, 224, question("main", "en"), TRAIN + EVAL) for model in models}
    assert len(limits) == 1, "docs/instructors.md gives one limit for every model of data/prices.yaml, and they differ now; say it there, in both languages, and here"
    (rpm, tpm), = limits
    one, guide = "notebooks/01_prompting.ipynb", "docs/instructors.md"
    return {
        "scenes of the course": ("README.md", r"(\d+) training and (\d+) evaluation scenes", (TRAIN, EVAL)),
        "memory that is enough": ("README.md", r"(\d+) GiB of memory, 10 GiB of disk", (MEMORY,)),
        "the lab's student": ("README.md", r"`openbmb/MiniCPM-V-4.6`, ([\d.]+) B parameters", (lab_student().parameters / 1e9,)),
        "processes of the tiny profile": ("README.md", r"DeepSpeed on (two) CPU processes", (load_profile("tiny").train.processes,)),
        "sentences marked by hand": ("README.md", r"(\d+) sentences marked by hand", (sentences,)),
        "the same in the notebook": (one, r"(\d+) sentences in the manners", (sentences,)),
        "prompts of the lab": (one, r"## 3 (\w+) prompts", (prompts,)),
        "the same among the sections": (one, r"\| 3 (\w+) prompts \|", (prompts,)),
        "the same in the lesson plan": (guide, r"\| (\w+) prompts, their price", (prompts,)),
        "comparisons of the lab": (one, r"(\d+) prompts times (\d+) measures are (\d+) comparisons", (prompts - 1, 5, 5 * (prompts - 1))),
        "draws of the bootstrap": (one, r"do that (\d+) times", (RESAMPLES,)),
        "photographs": ("CONTRIBUTING.md", r"each of the (\w+) photographs", (len(load_photos()),)),
        "LoRA on one GPU": ("README.md", r"LoRA on MiniCPM-V 4.6, one GPU [^\n]* ([\d.]+) GiB \|", (planned("lora", 2),)),
        "LoRA, offloaded": ("README.md", r"everything offloaded \| ([\d.]+) GiB besides [^\n]* ([\d.]+) GiB \|", (held("lora"), planned("lora", 3, "all"))),
        "all parameters": ("README.md", r"all parameters, one GPU [^\n]* ([\d.]+) GiB \|", (planned("full", 2),)),
        "on four GPUs": ("README.md", r"all parameters, four GPUs [^\n]* ([\d.]+) GiB each", (planned("full", 2, gpus=4),)),
        "a class's memory, LoRA": (guide, r"LoRA, ZeRO 2 \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)", tuple(planned("lora", 2, gpus=n) for n in (1, 2, 4, 8))),
        "a class's memory, full": (guide, r"all parameters, ZeRO 2 \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)", tuple(planned("full", 2, gpus=n) for n in (1, 2, 4, 8))),
        "offloaded, LoRA": (guide, r"either, [^|]*\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)", tuple(planned("lora", 3, "all", gpus=n) for n in (1, 2, 4, 8))),
        "offloaded, full": (guide, r"either, [^|]*\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)", tuple(planned("full", 3, "all", gpus=n) for n in (1, 2, 4, 8))),
        "main memory": (guide, r"with (\d+) GiB of main memory for LoRA and (\d+) for", (held("lora"), held("full"))),
        "the smallest": (guide, r"1024 tokens, without DeepSpeed \| ([\d.]+)", (planned("lora", 0, views=1, tune_vision=False, sequence_length=1024),)),
        "visitors": (guide, r"VISITORS=(\d+)", (chat.visitors,)),
        "visitors in words": (guide, r"(Eight) visitors are the default", (chat.visitors,)),
        "idle minutes": (guide, r"conversation that was not used for (\d+) minutes", (chat.idle_minutes,)),
        "the chat's port": (guide, r"PORT=(\d+)", (chat.port,)),
        "a full page": (guide, r"tries again by itself every (\d+) seconds", (RETRY_SECONDS,)),
        "patience at 429": (guide, r"up to (\d+) times for one question", (PATIENCE,)),
        "date of the prices": (guide, r"by the prices of (\S+) in", (prices.date,)),
        "limits": (guide, r"(\d+) requests and (\d \d{3} \d{3}) tokens a minute for each of the (four) models", (rpm, tpm, len(models))),
        "a fortieth": (guide, r"(\d+) requests and ([\d ]+) tokens. A run does not know", (rpm / 40, tpm / 40)),
        "the lab's pace": (guide, r"asks at\n(\d+) a minute, which forty times is twice", (load_profile("lab").teacher.rpm,)),
        "photographs' price": (guide, r"\| 100 photographs [^|]*\| ([\d.]+) yuan \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)", tuple(photographs.values())),
        "scenes' price": (guide, r"\| the course's (\d+) drawn scenes[^|]*\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)", (TRAIN + EVAL, *scenes.values())),
        "a student's photographs": (guide, r"\| (\d+) photographs of one's own \| ([\d.]+) \| (\d+)", (200, 2 * photographs[models[0]], 80 * photographs[models[0]])),
        "for a class": (guide, r"labelled once [^|]*\| ([\d.]+) for all \| ([\d.]+)", (scenes[models[0]], scenes[models[0]])),
    }


def disagreement(name: str, pattern: str, wanted: tuple) -> str | None:
    """What is wrong with one fact, or None."""
    said = re.search(pattern, DOCUMENTS[name].text)
    if said is None:
        return f"{name} does not say {pattern} any more"
    if len(said.groups()) != len(wanted):
        return f"{name} says {len(said.groups())} numbers in {said[0]!r}, but there are {len(wanted)}: {wanted}"
    for word, value in zip(said.groups(), wanted, strict=True):
        number = NUMBERS.get(word.lower())
        if word.isalpha() and number is None and not isinstance(value, str):
            return f"{name} says {said[0]!r}, and {word} is none of the NUMBERS that this test reads"
        if isinstance(value, str):
            right = word == value
        elif number is not None:
            right = number == value
        else:
            right = float(word.replace(" ", "")) == pytest.approx(round(value, len(word.partition(".")[2])))
        if not right:
            return f"{name} says {said[0]!r}, but it is {value}"
    return None


def test_numbers_are_the_code_s():
    wrong = {what: found for what, fact in facts().items() if (found := disagreement(*fact))}
    assert not wrong, "\n".join(f"{what}: {found}" for what, found in wrong.items())


def test_a_number_that_is_not_the_code_s_is_found():
    assert "prompts" in disagreement("notebooks/01_prompting.ipynb", r"## 3 (\w+) prompts", (13,))
    assert "none of the NUMBERS" in disagreement("notebooks/01_prompting.ipynb", r"their (\w+)", (13,))
    assert "1 numbers" in disagreement("notebooks/01_prompting.ipynb", r"## 3 (\w+) prompts", (12, 13))
    assert "any more" in disagreement("README.md", "as many as (\\d+) dragons", (1,))
    assert disagreement("README.md", r"(\d+) training and (\d+) evaluation", (1957, 368)) is None


def test_what_the_planner_is_off_by_is_what_it_says():
    from helpers.core.memory_report import published

    table = DOCUMENTS["docs/measurements.md"].text.split("Beside the published table")[1].split("Beside runs")[0]
    rows = dict(re.findall(r"^\| (LoRA|all parameters) \| (.+) \|$", table, re.MULTILINE))
    for strategy, name in (("lora", "LoRA"), ("full", "all parameters")):
        found = [one for one in published() if one.plan.setup.strategy == strategy]
        off = [f"{100 * (one.plan.total / one.measured - 1):+.1f} %" for one in sorted(found, key=lambda one: one.plan.setup.gpus)]
        assert rows[name].split(" | ") == off


def test_lessons_fill_their_time_and_use_sections_that_are_there():
    """Of the guide's plans: no gap between two rows, and room for what the notebooks say their sections take."""
    minutes, headings = {}, {}
    for name, document in DOCUMENTS.items():
        if found := re.match(r"notebooks/(\d\d)_\w+\.ipynb", name):
            headings[found[1]] = set(re.findall(r"^## (\d+) ", document.text, re.MULTILINE))
            minutes[found[1]] = {number: int(length) for number, length in re.findall(r"^\| (\d+) [^|]*\|[^|]*\| (\d+) \|$", document.text, re.MULTILINE)}
    plans = re.findall(r"((?:^\| \d+–\d+ \|.*\n)+)", DOCUMENTS["docs/instructors.md"].text, re.MULTILINE)
    assert [plan.strip().splitlines()[-1].split("|")[1].split("–")[1].strip() for plan in plans] == ["90", "240"]
    for plan in plans:
        end = 0
        for row in plan.strip().splitlines():
            times, _, where = (cell.strip() for cell in row.strip("|").split("|"))
            begin, until = map(int, times.split("–"))
            assert begin == end and until > begin, row
            end = until
            if found := re.search(r"\b(0\d)\b.*?sections? (\d+)(?: (to|and) (\d+))?", where):
                first, last = int(found[2]), int(found[4] or found[2])
                sections = range(first, last + 1) if found[3] == "to" else sorted({first, last})
                assert {str(number) for number in sections} <= headings[found[1]], row
                assert "shortened" in where or sum(minutes[found[1]][str(number)] for number in sections) <= until - begin, row
    for heading in re.findall(r"^\| (?:day|week) \| (0–.*) \|", DOCUMENTS["docs/instructors.md"].text, re.MULTILINE):
        ends = [tuple(map(int, cell.split("–"))) for cell in heading.split(" | ") if "–" in cell]
        assert all(one[1] == other[0] for one, other in zip(ends, ends[1:])) and ends[-1][1] in (90, 180)


@pytest.mark.parametrize("name", ["docs/instructors.md", "docs/zh/instructors.md"])
def test_a_lesson_runs_every_cell_that_later_ones_of_it_need(name):
    """Of the plans that leave sections out: no cell uses a name that only a left out section binds."""
    text = DOCUMENTS[name].text
    for anchor, notebooks in (("ninety", {"00", "01"}), ("half-day", {"00", "01", "02", "04", "05", "06"})):
        taught = sections_of_plan(text.split(f'<a id="{anchor}"></a>')[1].split('<a id="')[0])
        assert taught.keys() == notebooks
        assert not [fault for number, sections in taught.items() for fault in names_missing(number, sections)]


def test_a_lesson_that_leaves_out_too_much_is_found():
    assert names_missing("05", {1, 3, 4}) and names_missing("06", {1, 5}) and names_missing("01", {1, 2, 3, 4, 5, 6, 8})
    assert not names_missing("01", {1, 2, 3, 4, 5, 6})


def sections_of_plan(plan):
    """{notebook: sections that a plan teaches, or tells to run without teaching}, in either language."""
    taught = {}
    for row in re.findall(r"^\| \d+–\d+ \|.*\|$", plan, re.MULTILINE):
        for number, first, between, last in re.findall(r"\b(0\d)\b[^|]*?(?:sections? |第 )(\d+)(?:( to | and | 至 |、)(\d+))?", row):
            first, last = int(first), int(last or first)
            taught.setdefault(number, set()).update(range(first, last + 1) if between.strip() in ("to", "至") else (first, last))
    for line in re.findall(r"^(?:Run without teaching|只运行、不讲解，因为).*", plan, re.MULTILINE):
        pairs = [*re.findall(r"section (?P<s>\d+) of (?P<n>0\d)", line), *((s, n) for n, s in re.findall(r"(0\d) 的第 (\d+) 节", line))]
        assert pairs, line
        for section, number in pairs:
            taught[number].add(int(section))
    return taught


def names_missing(number, sections):
    """Names that these sections of a notebook, or any of its exercises, use and that only its other sections bind."""
    from helpers.core.exercises import grade_id, names_bound, names_used, read_notebook

    place, cells = 0, []        # sections and exercises; None: neither, as "What you learned"
    for cell in read_notebook(next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))).cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^## (\d+)?", cell.source, re.MULTILINE)):
            place = int(found[1]) if found[1] else None if place != 0 else 0
        if cell.cell_type == "code":
            cells.append(((grade_id(cell) or "").replace("check", "exercise") or place, cell.source))
    bound = {name for _, source in cells for name in names_bound(source)}
    exercises = sorted({where for where, _ in cells if isinstance(where, str)} if number in ("01", "02", "05") else {})
    faults = []
    for exercise in exercises or [None]:
        known = set()
        for where, source in cells:
            if where == 0 or where in sections or where is not None and where == exercise:
                faults += [(number, where, name) for name in sorted((names_used(source) - names_bound(source) - known) & bound)]
                known |= names_bound(source)
    return faults


def test_messages_that_the_guide_explains_are_the_kit_s_own():
    sources = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in every_file()
                        if name.startswith(("helpers/", "finetune/", "scripts/")) and name.endswith((".py", ".sh", ".j2")) or name == "Makefile")
    for name in ("docs/instructors.md", "docs/zh/instructors.md"):
        table = DOCUMENTS[name].text.split("<!-- messages of the kit -->")[1].split("\n\n")[1]
        quoted = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
        assert len(quoted) == len(table.strip().splitlines()) - 2 >= 15
        assert not [message for message in quoted if message not in sources]


def test_the_citation_is_valid_and_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format requires
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["authors"] == [{"name": "The CaptionLab developers"}]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").split()[:2] == ["Apache", "License"] and project["license"] == "Apache-2.0"


def test_pictures_badges_and_tables_are_those_of_today():
    specification = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    pictures = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(pictures)
    for name, drawing in pictures.badges().items():
        assert (pictures.PICTURES / name).read_text(encoding="utf-8") == drawing, "run python scripts/pictures.py --tables"
    for language, readme in pictures.READMES.items():
        text = readme.read_text(encoding="utf-8")
        assert pictures.with_table(text, language) == text, "run python scripts/pictures.py --tables"
    for notebook in pictures.notebooks():
        if pictures.outputs(notebook):  # none of a notebook that was not executed yet
            size = (pictures.PICTURES / f"{notebook.stem}.png").stat().st_size
            assert 3_000 < size < 150_000, f"{notebook.stem}.png has {size} bytes"
