"""Makes what the READMEs show: a picture of each notebook, the badges, and the table that holds the pictures.

    python scripts/pictures.py                 everything; needs a Chromium, as the browser tests do
    python scripts/pictures.py 01_prompting    this notebook's picture alone, and the tables
    python scripts/pictures.py --tables        the badges and tables alone

A picture shows outputs as they are stored in the notebook (`SHOWN` says which; otherwise its first figures), so it changes when the notebook is
executed anew. Titles, first sentences and minutes in the tables are the notebooks' own; the
badges say what pyproject.toml says. `tests/test_documents.py` holds badges and tables against their sources.
"""

from __future__ import annotations

import argparse
import html
import io
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SIZE = (960, 600)     # of the page; the picture is half as wide and high
COLOURS = 96
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
MINUTES = {"en": "{} minutes", "zh": "{} 分钟"}
# Of each notebook, the cells whose outputs tell most: a piece of their source.
SHOWN = {
    "00_environment": ("gallery(pictures, words)", "environment.table(checks)"),
    "01_prompting": ("prompting.chart(comparison)",),
    "02_dataset": ("pairs_figure(found.pairs)",),
    "04_finetuning": ('launch("full"', "memory_chart(plans"),
    "05_metrics": ("grouped_bars(scored.result",),
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync")
STYLE = """body { margin: 0; font: 15px/1.35 sans-serif; background: #fff; color: #222 } img { max-width: 100%; display: block; margin: 6px auto; object-fit: contain }
pre { font-size: 13px; margin: 6px } table { border-collapse: collapse; margin: 6px auto } td, th { padding: 3px 8px; text-align: left }"""


def notebooks() -> list[Path]:
    """The notebooks, in order."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def outputs(notebook: Path) -> list[str]:
    """What to show, as HTML: a picture attached to the notebook's head, else outputs; none of a notebook that was not executed.

    Ends the program where a cell of `SHOWN` is gone."""
    everything = nbformat.read(notebook, as_version=4).cells
    for attached in everything[0].get("attachments", {}).values():
        return [f'<img src="data:{kind};base64,{data}">' for kind, data in attached.items()]
    cells = [cell for cell in everything if cell.cell_type == "code"]
    if notebook.stem in SHOWN:
        found = [next((cell for cell in cells if wanted in cell.source), None) for wanted in SHOWN[notebook.stem]]
        if None in found:
            raise SystemExit(f"{notebook.name} has no cell with {SHOWN[notebook.stem][found.index(None)]!r} any more: change SHOWN")
        return [shown for cell in found for shown in list(_html_of(cell))[-1:]]
    return [shown for cell in cells for shown in _html_of(cell) if shown.startswith("<img")][:2]


def _html_of(cell: nbformat.NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            yield f'<img src="data:image/png;base64,{data["image/png"]}">'
        elif "text/html" in data:
            yield data["text/html"]


def draw(asked: list[str]) -> None:
    """Writes the pictures of the notebooks asked for, or of all."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        raise SystemExit("there is no Chromium; on Debian: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        for notebook in notebooks():
            if not asked or notebook.stem in asked:
                page = browser.new_page(viewport=dict(zip(("width", "height"), SIZE)))
                if shown := outputs(notebook):
                    page.set_content(f"<style>{STYLE} body > img {{ max-height: {SIZE[1] // len(shown) - 12}px }}</style>{''.join(shown)}")
                    print(save(page.screenshot(), notebook.stem))
                else:
                    print(f"{notebook.name} stores no figure yet: execute it, and run this again")
                page.close()
        browser.close()


def save(screenshot: bytes, name: str) -> Path:
    """Writes a page's picture at half its size, in few colours, which figures and drawings have anyway."""
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB").resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS)
    path = PICTURES / f"{name}.png"
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def introduce(notebook: Path, language: str = "en") -> tuple[str, str, int]:
    """(title, first sentence, minutes) as the notebook, or where it has one its Chinese twin, says them."""
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "markdown"]
    plan = next(cell for cell in cells if cell.startswith("## What you will do"))
    minutes = sum(int(number) for number in re.findall(r"\| (\d+) \|$", plan, re.MULTILINE))
    twin = ROOT / "notebooks" / language / f"{notebook.stem}.md"
    first = re.sub(r"<!--.*?-->\s*", "", twin.read_text(encoding="utf-8")) if language != "en" and twin.is_file() else cells[0]
    title, text = first.split("\n", 1)
    text = " ".join(text.strip().split("\n\n")[0].split())
    return title.removeprefix("# "), re.match(r".*?(?:[。！？]|[.!?](?= |$)|$)", text)[0], minutes


def table(language: str) -> str:
    """Two columns of pictures, each a link to its notebook, with what the notebook says of itself."""
    cells = []
    for notebook in notebooks():
        title, text, minutes = introduce(notebook, language)
        link = f"notebooks/{notebook.name}"
        shown = f"[![{title}](docs/pictures/{notebook.stem}.png)]({link})<br>" if (PICTURES / f"{notebook.stem}.png").is_file() else ""
        said = f"[**{title}**]({link}), {MINUTES['en'].format(minutes)}. {text}" if language == "en" else f"[**{title}**]({link})（{MINUTES['zh'].format(minutes)}）：{text}"
        cells.append(shown + said)
    cells += [""] * (len(cells) % 2)
    return "\n".join(["| | |", "|---|---|", *(f"| {left} | {right} |" for left, right in zip(cells[::2], cells[1::2]))])


def with_table(readme: str, language: str) -> str:
    """A README's text with today's table between its marks."""
    return re.sub(r"(<!-- notebooks: [^\n]*-->\n).*?(<!-- end -->)", lambda marks: f"{marks[1]}\n{table(language)}\n\n{marks[2]}", readme, count=1, flags=re.DOTALL)


def badges() -> dict[str, str]:
    """{file name: SVG} of the badges, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    return {"badge_licence.svg": badge("licence", project["license"]), "badge_python.svg": badge("Python", f"{oldest} or newer")}


def badge(left: str, right: str) -> str:
    """Two words side by side, as badges are; drawn here, so that a README fetches nothing from elsewhere."""
    widths = [round(6.6 * len(text)) + 12 for text in (left, right)]
    texts = "".join(f'<text x="{x}" y="14" fill="#fff" font-family="Verdana,sans-serif" font-size="11" text-anchor="middle">{html.escape(text)}</text>'
                    for x, text in ((widths[0] / 2, left), (widths[0] + widths[1] / 2, right)))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{sum(widths)}" height="20" role="img" aria-label="{html.escape(f"{left}: {right}")}">'
            f'<rect width="{sum(widths)}" height="20" rx="3" fill="#0072b2"/><rect width="{widths[0]}" height="20" rx="3" fill="#444"/>'
            f'<rect x="{widths[0] - 3}" width="3" height="20" fill="#444"/>{texts}</svg>\n')


def main() -> None:
    """Make what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", help="stems, as in 01_prompting; all where none is given")
    parser.add_argument("--tables", action="store_true", help="badges and tables alone")
    asked = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    if not asked.tables:
        draw(asked.notebooks)
    for name, drawing in badges().items():
        (PICTURES / name).write_text(drawing, encoding="utf-8")
    for language, readme in READMES.items():
        readme.write_text(with_table(readme.read_text(encoding="utf-8"), language), encoding="utf-8")


if __name__ == "__main__":
    main()
