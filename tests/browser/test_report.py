"""The report in a real browser: nothing from outside, nothing cut off, readable in light and dark, wide and narrow."""

import pytest
from PIL import Image, ImageDraw

from helpers.core.report import Report, Shown, write_report

METRICS = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
LONG = "这张照片记录了夜晚海滩的场景。图中可以看到一只紫色的蝴蝶、一只蓝色的风筝和一只棕色的狗。" * 3

@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A report of three systems and four pictures with long Chinese captions."""
    folder = tmp_path_factory.mktemp("report")
    shown = []
    for number in range(4):
        picture = Image.new("RGB", (224, 224), (60 * number, 120, 200))
        ImageDraw.Draw(picture).ellipse((40, 40, 180, 180), fill="orange")
        picture.save(folder / f"{number}.jpg")
        marks = {"lora": {"named": ["狗"], "missed": ["风筝"], "hallucinated": ["大象"]}}
        shown.append(Shown(f"000{number}", folder / f"{number}.jpg", LONG, {"pretrained": "一只狗。", "lora": LONG, "full": "x" * 300}, marks))
    result = {"language": "zh", "tokenizer": "jieba", "unavailable": {"SPICE": "needs a parser."}, "notes": {"intervals": "95 %."}, "systems": {
        name: {"n": 368, **dict.fromkeys(METRICS, 0.3 * k), "intervals": {metric: [0.28 * k, 0.33 * k] for metric in METRICS}}
        for k, name in enumerate(("pretrained", "lora", "full"), 1)}}
    truth = {name: {"object_recall": 0.9, "object_precision": 0.8, "object_f1": 0.85, "colour_accuracy": 0.7, "count_accuracy": 0.5} for name in result["systems"]}
    losses = {name: [(step, 3 / step) for step in range(1, 60)] for name in ("lora", "full")}
    report = Report(result, truth, losses, shown, {"scenes": 30.0, "train lora": 180.0}, [("seed", "0")],
                    notice="The words come from the offline stand-in, not Qwen-VL.", peak_memory=3 * 2**30)
    return write_report(report, folder / "deep" / "report.html")


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")])
def test_the_page_fits_and_can_be_read(browser, page_file, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(page_file.as_uri())
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.locator(".card img").count() == 4
    # Every character of the table and the gallery lies inside the window, not behind a scroll bar.
    outside = "(width) => [...document.querySelectorAll('td, th, dd, dt, .mark')].filter(e => e.getBoundingClientRect().right > width + 1).map(e => e.textContent.slice(0, 40))"
    assert page.evaluate(outside, width) == []
    assert page.locator("figure svg:visible").count() == 2
    # The contrast of text with its ground, after WCAG 2.1: at least 4.5 to 1 for text of normal size.
    for selector in ("dd", "dt", ".note", "td small", ".mark.right", ".mark.missed", ".mark.wrong", "h1"):
        assert contrast(page, selector) >= 4.5, selector
    page.close()


def contrast(page, selector):
    """The contrast ratio (1 to 21) of the first such element's text with the nearest ground that is painted behind it."""
    ink, ground = page.evaluate("""selector => {
        const rgb = text => text.match(/[\\d.]+/g).map(Number);
        let element = document.querySelector(selector);
        const ink = rgb(getComputedStyle(element).color);
        let ground = [0, 0, 0, 0];
        for (; element; element = element.parentElement) {
            ground = rgb(getComputedStyle(element).backgroundColor);
            if (ground.length === 3 || ground[3] > 0) break;
        }
        return [ink.slice(0, 3), ground.slice(0, 3)];
    }""", selector)

    def luminance(colour):
        linear = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_page_says_everything(browser, page_file):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(page_file.as_uri())
    text = page.inner_text("body")
    for words in ("offline stand-in, not Qwen-VL", "CIDEr", "object F1", "colour accuracy", "SPICE", "368", "180 s", "3.0 GiB", "✗ 大象", "一只狗。"):
        assert words in text, words
    rows = page.locator("#scores tbody tr:not(.group)")
    assert rows.count() == len(METRICS) + 5
    cider = rows.filter(has_text="CIDEr")
    assert cider.locator("td").all_inner_texts() == ["0.300\n0.280 – 0.330", "0.600\n0.560 – 0.660", "0.900\n0.840 – 0.990"]
    assert "best" in cider.locator("td").nth(2).get_attribute("class")
    assert page.locator(".best").count() == len(METRICS)  # the truth is a draw: nobody is best there
    page.close()
