"""Tokens and yuan: the published rule for pictures, the tiers, and a file that is not as it should be."""

import pytest

from helpers.core.errors import InputError
from helpers.core.prices import load_prices, text_tokens, token_pieces


def test_picture_tokens_follow_the_published_rule():
    prices = load_prices()
    qwen3, qwen2 = prices.model("qwen3-vl-plus"), prices.model("qwen-vl-max")
    assert qwen3.image_tokens(1024, 768) == 32 * 24 + 2
    assert qwen2.image_tokens(560, 280) == 20 * 10 + 2
    assert qwen3.image_tokens(224, 224) == 8 * 8 + 2  # scaled up to the least area
    assert qwen3.image_tokens(6000, 4000) <= qwen3.max_pixels // 32**2 + 2
    assert qwen2.image_tokens(40, 20) >= 4 + 2


def test_cost_goes_by_the_tier_of_the_input():
    price = load_prices().model("qwen3-vl-plus")
    assert price.cost(1000, 100) == pytest.approx(0.001 + 0.001)
    assert price.cost(32_000, 0) == pytest.approx(0.032) and price.cost(32_001, 0) == pytest.approx(0.0480015)
    assert price.cost(10**6, 0) == pytest.approx(3.0)


def test_models_are_found_by_name_and_by_snapshot():
    prices = load_prices()
    assert prices.model("qwen3-vl-plus-2025-12-19").name == "qwen3-vl-plus" and prices.model("qwen-vl-max-latest").name == "qwen-vl-max"
    assert prices.model("qwen-of-tomorrow") is None and prices.model("qwen-vl") is None
    assert prices.date and all(source.startswith("https://") for source in prices.sources)


@pytest.mark.parametrize("text", ["There is a small red ball, and two dogs.  ", "请告诉我，\n场景。", "", "  ", "- a\n\n- b"])
def test_pieces_join_to_the_text(text):
    assert "".join(token_pieces(text)) == text


def test_longer_texts_have_more_tokens():
    assert 0 == text_tokens("") < text_tokens("cat") < text_tokens("a cat on a mat") and text_tokens("一只猫") == 3


@pytest.mark.parametrize("content", ["models: [", "models: {m: {}}", "[]", "models: {m: {tiers: [{up_to: x}]}}"])
def test_a_price_file_that_is_not_right_is_named(tmp_path, content):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(InputError, match="mine.yaml"):
        load_prices(tmp_path / "mine.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_prices(tmp_path / "none.yaml")
