"""The chat's page and its visitors: five at once, one too many, one who comes back, one with a phone, one whose conversation has ended."""

import nbformat
import pytest
from chat_page import SLOW, SOON, ChatPage, visit
from chat_visitors import KERNELSPEC, Server
from playwright.sync_api import Error, expect

SMALL = "import ipywidgets\nipywidgets.HTML('<p>a small page</p>')"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
LEGIBLE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
# What lies outside of the window, sideways: it could not be read, or not be touched.
SIDEWAYS = """() => [...document.querySelectorAll('.captionlab-chat :is(button, textarea, input, p, h2, h3, h4, label, mark)')].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && !element.closest('.captionlab-gallery') && (box.right > innerWidth + 1 || box.left < -1);
}).map(element => element.className + element.textContent.slice(0, 30))"""
WHOLE_HEIGHT = "Math.max(...[...document.querySelectorAll('#rendered_cells, main')].map(element => Math.ceil(element.getBoundingClientRect().top + element.scrollHeight)))"


@pytest.fixture(scope="module")
def narrow_server(tmp_path_factory, chromium):
    """A small page with a place for one."""
    file = tmp_path_factory.mktemp("narrow") / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SMALL)], metadata=KERNELSPEC), file)
    server = Server(file, visitors=1, share=False)
    yield server
    server.stop()


def test_five_visitors_at_once_get_answers_of_their_own(browser, chat_server, screenshots):
    with visit(browser, chat_server.url) as a, visit(browser, chat_server.url) as b, visit(browser, chat_server.url) as c, \
            visit(browser, chat_server.url) as d, visit(browser, chat_server.url) as e:  # none is waited for: all are being made at once
        chats = [chat.ready() for chat in (a, b, c, d, e)]
        for chat in chats:
            chat.use("Pretrained", "Parrot")
        for number, chat in enumerate(chats):  # nobody's answer is waited for either
            chat.root.locator(".captionlab-thumb").nth(number).click()
            chat.ask(f"I am visitor {number}. What is in the picture?")
        for chat in chats:
            chat.wait()
        answers = [chat.answers(chat.exchanges.first) for chat in chats]
        assert [chat.exchanges.count() for chat in chats] == [1] * 5
        assert [answer["Parrot"] for answer in answers] == [f"I am visitor {number}. What is in the picture?" for number in range(5)]
        assert all(answer["Pretrained"].strip() for answer in answers) and len({answer["Pretrained"] for answer in answers[:4]}) > 1  # of four scenes and a photograph
        assert len({chat.kernel for chat in chats}) == 5
        # The weights, and what computes with them, are in memory once; a visitor is a small part of that.
        below = chat_server.below()
        computing = [process for process in below if any("libtorch" in mapped.path for mapped in process.memory_maps())]
        assert len(below) >= 6 and len(computing) == 1
        assert sum(process.memory_full_info().pss for process in below) < 2 * computing[0].memory_full_info().pss
        for number, chat in enumerate(chats):
            chat.exchanges.first.scroll_into_view_if_needed()
            chat.page.screenshot(path=screenshots / f"voila-visitor-{number}.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_all_and_every_control_has_a_name(browser, chat_server, screenshots, theme):
    from axe_playwright_python.sync_playwright import Axe

    with visit(browser, f"{chat_server.url}?theme={theme}", color_scheme=theme, **PHONE) as chat:
        chat.ready()
        chat.page.screenshot(path=screenshots / f"voila-phone-{theme}.png")
        chat.use("Pretrained", "Parrot")
        exchange = chat.ask("Describe the picture, please, with averyveryveryveryveryveryveryveryveryveryveryverylongword.")
        chat.wait()
        exchange.locator(".captionlab-show-truth").tap()
        chat.root.locator(".captionlab-fold-decoding").tap()
        expect(chat.root.locator(".captionlab-knobs")).to_be_visible(timeout=SOON)
        expect(exchange.locator(".captionlab-truth")).to_be_visible(timeout=SOON)
        assert chat.page.evaluate("document.documentElement.scrollWidth") <= 390 and chat.page.evaluate(SIDEWAYS) == []
        found = Axe().run(chat.page, context=".captionlab-chat", options=LEGIBLE).response["violations"]
        assert [(fault["id"], [node["html"][:160] for node in fault["nodes"]]) for fault in found] == []
        for name, width in (("phone", 390), ("desk", 1280)):
            chat.page.set_viewport_size({"width": width, "height": 1000})
            chat.page.set_viewport_size({"width": width, "height": chat.page.evaluate(WHOLE_HEIGHT)})
            chat.page.screenshot(path=screenshots / f"voila-{name}-{theme}-whole.png")


def test_a_conversation_that_has_ended_says_so(browser, chat_server, screenshots):
    with visit(browser, chat_server.url) as chat:
        chat.ready()
        over = chat.page.get_by_role("alertdialog")
        expect(over).to_be_hidden()
        assert chat_server.end(chat.kernel)[0] == 204
        expect(over).to_contain_text("This conversation has ended", timeout=SOON)
        expect(over).to_contain_text("这段对话已经结束")
        chat.page.screenshot(path=screenshots / "voila-ended.png")
        over.get_by_role("button").click()
        ChatPage(chat.page).ready()
        expect(over).to_be_hidden()


def test_one_too_many_is_told_so_and_comes_in_when_somebody_leaves(browser, narrow_server, screenshots):
    small, full = "a small page", "All places are taken"
    with visit(browser, narrow_server.url) as first:
        expect(first.page.get_by_text(small)).to_be_visible(timeout=SLOW)
        with visit(browser, narrow_server.url) as second:
            expect(second.page.get_by_role("heading", name=full)).to_be_visible(timeout=SLOW)
            expect(second.page.get_by_text("现在人满了")).to_be_visible()
            second.page.screenshot(path=screenshots / "voila-full.png")
            first.page.reload(wait_until="commit")  # whoever is in keeps the place
            expect(first.page.get_by_text(small)).to_be_visible(timeout=SLOW)
            kernel = first.kernel
            first.page.goto("about:blank")
            expect(second.page.get_by_text(small)).to_be_visible(timeout=SLOW)  # by itself
            assert second.kernel != kernel and narrow_server.request(f"/api/kernels/{kernel}")[0] == 404


def test_a_page_says_when_its_server_is_gone(browser, narrow_server, screenshots):
    with visit(browser, narrow_server.url) as chat:
        expect(chat.page.get_by_text("a small page")).to_be_visible(timeout=SLOW)
        narrow_server.process.kill()
        expect(chat.page.get_by_role("alertdialog")).to_contain_text("The server does not answer", timeout=SOON)
        chat.page.screenshot(path=screenshots / "voila-gone.png")
        with pytest.raises(Error, match="ERR_CONNECTION_REFUSED"):
            chat.page.reload()
