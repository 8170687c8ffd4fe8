"""Levers of speed, one set beside another in the same process: what a row of theirs is named after.

Written as `blocks=plain/blocks=compiled,attention=default`: sets by slash, levers of a set by
comma. What a set does not name is as the settings have it.
"""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.bench import Unmeasurable
from ltx2.errors import ConfigError
from ltx2.levers import levers_for
from ltx2.settings import Settings, process_environment

if TYPE_CHECKING:
    from ltx2.engine import Engine

LAYOUTS = {"channels_last": torch.channels_last_3d, "contiguous": torch.contiguous_format}


def add_argument(parser: argparse.ArgumentParser) -> None:
    """The argument of a scenario that compares sets of levers."""
    parser.add_argument(
        "--levers",
        help="sets beside the settings' own: NAME=VALUE, those of a set by commas and sets by "
        "slashes, as blocks=plain/blocks=compiled,attention=default; names and values are those "
        "of the settings LTX2_ATTENTION, LTX2_BLOCKS, LTX2_BATCHED_TOKENS, LTX2_VAE_LAYOUT and "
        "LTX2_FP8_PRODUCTS in docs/configuration.md",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A set of levers: its name in a row, empty for the settings' own, and what it is."""

    name: str
    levers: Any  # what components take

    def row(self, name: str) -> str:
        """A row's name with these levers."""
        return f"{name}, {self.name}" if self.name else name

    @contextmanager
    def pulled(self, engine: "Engine") -> Iterator[None]:
        """The engine computes with these inside the block.

        Weights of the decoder are turned on the way in and out, so what is timed is timed inside.
        """
        parts = engine.components
        before, layout = parts.levers, engine.levers["vae_layout"]
        parts.levers = self.levers
        wanted = engine.levers["vae_layout"]
        turned = layout != wanted
        try:
            if turned:
                turn(parts.part("vae"), LAYOUTS[str(wanted)])
            yield
        finally:
            parts.levers = before
            if turned:
                turn(parts.part("vae"), LAYOUTS[str(layout)])


def usual(engine: "Engine") -> Chosen:
    """The settings' own."""
    return Chosen(name="", levers=engine.components.levers)


def chosen(text: str | None, engine: "Engine") -> list[Chosen]:
    """The settings' own levers, then each set of `text`. Raises Unmeasurable for other words."""
    sets = [each for each in (text or "").split("/") if each.strip()]
    return [usual(engine), *(_set(each.strip(), engine) for each in sets)]


def _set(text: str, engine: "Engine") -> Chosen:
    known = engine.levers
    named: dict[str, str] = {}
    for each in text.split(","):
        name, equals, value = each.strip().partition("=")
        if name not in known or not equals:
            raise Unmeasurable(f"{each!r} is no lever; NAME=VALUE with one of {', '.join(known)}")
        named[name] = value
    return Chosen(name=text, levers=_levers(named, engine))


def _levers(named: Mapping[str, str], engine: "Engine") -> Any:  # noqa: ANN401 - as components take
    """As the settings would have them with these variables."""
    own = {f"LTX2_{name.upper()}": value for name, value in named.items()}
    try:
        settings = Settings.from_env({**process_environment(), **own})
        return levers_for(settings, engine.components.device, engine.components.dtype)
    except ConfigError as error:
        raise Unmeasurable(str(error)) from error


def turn(vae: nn.Module, layout: torch.memory_format) -> None:
    """The decoder's convolutions in a layout; nothing is copied where they are in it."""
    decoder = vae.get_submodule("decoder")
    for module in decoder.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=layout)
