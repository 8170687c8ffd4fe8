"""The stylesheet's tokens: enough contrast in both themes, and each colour written once."""

import re

import pytest

from gateway.studio.assets import FOLDER

STYLE = (FOLDER / "studio.css").read_text()
HEX = "#[0-9a-f]{6}"
TOKENS = re.compile(rf"--([\w-]+): (?:({HEX})|light-dark\(({HEX}), ({HEX})\));")
PARTED = re.compile(r":root\[data-theme=\"(light|dark)\"\] \{ color-scheme: (\w+); \}")


def tokens(theme):
    """The colours of a theme: each is written once, with both of its values where it has two."""
    body = STYLE.partition(":root {")[2].partition("}")[0]
    return {name: one or (light, dark)[theme] for name, one, light, dark in TOKENS.findall(body)}


LIGHT, DARK = tokens(0), tokens(1)
GROUNDS = ("canvas", "panel", "sunk")
# Text on ground: 4.5 for words, 3 for edges that show where something can be used.
PAIRS = [
    *((text, ground, 4.5) for text in ("ink", "soft", "faint") for ground in GROUNDS),
    *((text, ground, 4.5) for text in ("accent-text", "bad") for ground in GROUNDS),
    ("good", "canvas", 4.5),
    ("ink", "tint", 4.5),
    ("accent-text", "tint", 4.5),
    ("bad", "bad-tint", 4.5),
    ("ink", "bad-tint", 4.5),
    ("accent-ink", "accent", 4.5),
    ("accent-ink", "accent-deep", 4.5),
    ("panel", "ink", 4.5),
    ("panel", "bad", 4.5),
    ("on-stage", "stage", 4.5),
    ("on-stage-soft", "stage", 4.5),
    *(("edge", ground, 3.0) for ground in GROUNDS),
    *(("focus", ground, 3.0) for ground in GROUNDS),
]


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_black_on_white_is_21_and_grey_on_grey_is_1():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground", "least"), PAIRS)
def test_there_is_enough_contrast(theme, text, ground, least):
    assert contrast(theme[text], theme[ground]) >= least


def test_a_chosen_theme_is_only_another_colour_scheme():
    """So that the system's dark is the chosen dark, whatever colours are added."""
    assert PARTED.findall(STYLE) == [("light", "light"), ("dark", "dark")]
    assert "prefers-color-scheme" not in STYLE


def test_nothing_outside_of_the_tokens_depends_on_the_theme():
    rest = STYLE.partition("/* Elements */")[2]
    assert rest
    assert "light-dark(" not in rest
    assert "data-theme" not in rest


def test_every_colour_that_is_used_has_a_token():
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE))
    assert used <= set(re.findall(r"--([\w-]+):", STYLE))
