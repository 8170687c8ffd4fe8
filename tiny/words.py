"""The words that the embedded checkpoint's tokenizer knows whole."""

import re

from tiny import captions, world

_SAID = (
    "a an the one two and with of in on without that is are sound silence ground video clip "
    "picture camera size in steady loud tone hum"
)


def words() -> tuple[str, ...]:
    """Every word of the grammar, and a few that people will use beside it, sorted."""
    phrases = [
        *world.COLOURS,
        *world.SHAPES,
        *world.SIZES,
        *world.GROUNDS,
        *world.TEXTURES,
        *(phrase for way in captions.MOTIONS.values() for phrase in way),
        *captions.CAMERA.values(),
        *captions.SILENCE,
        _SAID,
    ]
    return tuple(sorted({word for text in phrases for word in re.findall("[a-z]+", text)}))
