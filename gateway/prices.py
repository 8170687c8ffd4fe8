"""The price table: one data file that everything reads that shows or takes a price."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, PositiveInt, TypeAdapter

from gateway.credit_words import credit_words
from gateway.desk import PriceLine


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: str
    credit_usd: str
    credits_per_second: dict[str, dict[str, PositiveInt]]
    surcharges: dict[str, PositiveInt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one generation costs, and why."""

    credits: int
    credits_per_second: int
    lines: tuple[PriceLine, ...]  # add up to `credits`


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A version of the table."""

    version: str
    credit_usd: str
    credits_per_second: Mapping[str, Mapping[str, int]]  # by mode, then resolution
    surcharges: Mapping[str, int]  # per cent, by option

    def rate(self, mode: str, resolution: str) -> int | None:
        """Credits a second; None for what has no price and so is not sold."""
        return self.credits_per_second.get(mode, {}).get(resolution)

    def price(
        self,
        *,
        mode: str,
        resolution: str,
        seconds: int,
        options: Iterable[str],
        steps: int | None = None,
        usual_steps: int = 1,
    ) -> Price:
        """`rate × seconds`, more where `steps` are more than the mode's usual ones, and what each
        option adds to that. Raises KeyError for what is not sold.
        """
        rate = self.credits_per_second[mode][resolution]
        plain, pace = rate * seconds, f"{credit_words(rate)} a second"
        lines = [
            PriceLine(
                label=f"{resolution} {mode.capitalize()}, {pace} × {seconds} s",
                credits=plain,
            )
        ]
        if steps is not None and steps > usual_steps:
            added = -(-plain * (steps - usual_steps) // usual_steps)
            label = f"{steps} steps in place of {usual_steps}"
            lines.append(PriceLine(label=label, credits=added))
            plain += added
        for option in options:
            if share := self.surcharges.get(option, 0):
                added = -(-plain * share // 100)
                label = option.replace("_", " ").capitalize()
                lines.append(PriceLine(label=f"{label}, {share} % more", credits=added))
        return Price(
            credits=sum(line.credits for line in lines),
            credits_per_second=rate,
            lines=tuple(lines),
        )

    def usd(self, credits: int) -> str:
        """What credits are worth, exactly: "0.24"."""
        whole, _, part = self.credit_usd.partition(".")
        cents = credits * int(whole + part)
        text = str(cents).rjust(len(part) + 1, "0")
        return f"{text[: -len(part)]}.{text[-len(part) :]}" if part else text


@cache
def read_prices() -> Prices:
    """The table that this version ships."""
    text = resources.files("gateway").joinpath("prices.toml").read_text("utf-8")
    table = TypeAdapter(_File).validate_python(tomllib.loads(text))
    return Prices(
        version=table.version,
        credit_usd=table.credit_usd,
        credits_per_second=table.credits_per_second,
        surcharges=table.surcharges,
    )
