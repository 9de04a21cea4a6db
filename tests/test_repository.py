"""Laws of the repository: who may import whom, names that agree, documents that name only what exists, nothing of one machine."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from helpers import cli
from helpers.core.machine import normalise
from helpers.core.paths import ROOT

ROOMS = sorted(path for path in (ROOT / "helpers").glob("*.py") if path.stem not in ("__init__", "cli", "course"))
CORE = sorted(path for path in (ROOT / "helpers" / "core").glob("*.py") if path.stem != "__init__")
MODULES = [*ROOMS, *CORE, ROOT / "helpers" / "cli.py", ROOT / "helpers" / "course.py", *sorted((ROOT / "finetune").glob("*.py"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
TEXTS = (".py", ".md", ".yaml", ".toml", ".txt", ".json", ".sh", ".ipynb", ".j2", ".cfg")
COMMANDS = {command.name or command.callback.__name__.replace("_", "-"): command for command in cli.app.registered_commands}


def identify(path: Path) -> str:
    """A test's name for a file of the repository."""
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    """The text files that git would carry; in a tree without git, those outside of what .gitignore names at the top."""
    answer = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if answer.returncode == 0:
        files = [ROOT / name for name in answer.stdout.splitlines()]
    else:
        away = (".venv", "results", "finetune/data", "finetune/output", "build")
        files = [path for path in ROOT.rglob("*") if not path.relative_to(ROOT).as_posix().startswith(away)]
    return [path for path in files if path.is_file() and (path.suffix in TEXTS or path.name in ("Makefile", "run", "LICENSE"))]


def imported(path: Path, anywhere: bool = True) -> set[str]:
    """The helpers modules that a file imports ("helpers.metrics"); with `anywhere` also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "helpers":
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "helpers"}
    modules = {".".join(module.relative_to(ROOT).with_suffix("").parts) for module in MODULES}
    return found & modules


@pytest.mark.parametrize("path", CORE, ids=identify)
def test_core_imports_no_room(path):
    assert not {name for name in imported(path) if not name.startswith("helpers.core.")}


@pytest.mark.parametrize("path", [*ROOMS, ROOT / "finetune" / "finetune.py"], ids=identify)
def test_rooms_import_core_alone(path):
    assert not {name for name in imported(path) if not name.startswith("helpers.core.")}


def test_only_the_command_line_stands_above_the_course():
    importers = {path.stem for path in MODULES if imported(path) & {"helpers.course", "helpers.cli"}}
    assert importers <= {"cli"}


def test_no_import_runs_in_a_circle():
    edges = {".".join(path.relative_to(ROOT).with_suffix("").parts): imported(path) for path in MODULES if path.parts[-2] != "finetune"}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for below in edges[module]:
                visit(below, (*way, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_naming_law():
    for notebook in NOTEBOOKS:
        name = re.fullmatch(r"\d\d_(\w+)", notebook.stem)
        assert name, f"{notebook.name} is not named NN_name.ipynb"
        assert (ROOT / "helpers" / f"{name[1]}.py").is_file(), f"{notebook.name} teaches no helpers/{name[1]}.py"
    for room in [*ROOMS, ROOT / "helpers" / "cli.py", ROOT / "helpers" / "course.py"]:
        assert (ROOT / "tests" / f"test_{room.stem}.py").is_file(), f"{identify(room)} has no test file"
    assert not list((ROOT / "helpers").rglob("util*.py"))


def test_every_core_module_is_tested():
    # The training script is no module: tests start it as a program, so what it imports is tested as well.
    starting = [*(ROOT / "tests").glob("*.py"), ROOT / "finetune" / "finetune.py"]
    below = set().union(*(imported(path) for path in starting))
    while grown := set().union(*(imported(ROOT / Path(*name.split(".")).with_suffix(".py")) for name in below)) - below:
        below |= grown
    missing = {f"helpers.core.{path.stem}" for path in CORE} - below
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_modules_and_public_names_explain_themselves(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    silent = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            public = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
            if not node.name.startswith("_"):
                silent += [] if ast.get_docstring(node) else [node.name]
                # on_…: a hook of the library's, explained there
                silent += [f"{node.name}.{item.name}" for item in public if not item.name.startswith(("_", "on_")) and not ast.get_docstring(item)]
    silent += [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
               and not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not silent


def test_importing_every_room_loads_nothing_heavy():
    names = ", ".join(f"helpers.{path.stem}" for path in [*ROOMS, ROOT / "helpers" / "course.py"])
    code = f"import sys, {names}\nprint(*[name for name in ('torch', 'transformers', 'deepspeed', 'dashscope') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == ""


@pytest.mark.parametrize("readme", READMES, ids=identify)
def test_readmes_name_only_what_exists(readme):
    text = readme.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    code = re.findall(r"`([^`\n]+)`", text) + [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    named = set()
    for line in code:
        for command in re.finditer(r"(?:^|[/\\])captionlab\s+([a-z]+(?:-[a-z]+)*)([^#`]*)", line):
            assert command[1] in COMMANDS, f"{readme.name}: there is no captionlab {command[1]}"
            named.add(command[1])
            known = cli.typer.main.get_command(cli.app).commands[command[1]].params
            options = {option for parameter in known for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"--[a-z-]+", command[2])) <= options, line
        for target in re.findall(r"(?:^|[;&] *)make\s+([a-z.-]+)", line):
            assert target in targets, f"{readme.name}: there is no make {target}"
        for path in re.findall(r"^(?:bash )?((?:data|helpers|finetune|notebooks|tests)/[\w./-]+)$", line):
            if path != "helpers/name.py":
                assert (ROOT / path).exists() or path == "data/models/minicpmv-tiny", f"{readme.name}: there is no {path}"
    assert named == set(COMMANDS), "a command is missing from the README"


def test_readmes_say_the_same():
    english, chinese = (path.read_text(encoding="utf-8") for path in READMES)
    for pattern in (r"^#+ ", r"^\|", r"^```"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, chinese, re.MULTILINE)), pattern
    spans = [set(re.findall(r"`([^`\n]+)`", text)) for text in (english, chinese)]
    assert spans[0] == spans[1]


def test_every_dependency_is_pinned_and_every_pin_is_exact():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line) for line in lines)
    pinned = {normalise(line.split("==")[0]) for line in lines}
    wanted = {normalise(re.match(r"[\w.-]+", line)[0]) for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]}
    assert wanted <= pinned
    conda = yaml.safe_load((ROOT / "environment.yaml").read_text(encoding="utf-8"))
    assert conda["name"] == "captionlab" and "-c constraints.txt" in conda["dependencies"][-1]["pip"]


def test_make_explains_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split()
    for target in set(targets) - {"help"}:
        assert f'@echo "make {target} ' in text


def test_nothing_of_one_machine_is_kept():
    pattern = re.compile(r"/home/\w+/|/Users/\w+/|/root/|[A-Z]:\\\\?Users\\|/tmp/[a-z]|\bsk-[0-9a-f]{32}\b")
    here = Path(__file__)
    found = [f"{identify(path)}: {match[0]}" for path in tracked_files() if path not in (here, ROOT / "tests" / "test_environment.py")
             for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))]
    assert not found


def test_no_key_reaches_git():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {".env", "*.key", ".venv/", "/results/", "*.sqlite"} <= set(ignored)
