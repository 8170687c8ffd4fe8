"""The tables and the picture of docs/performance.md, from results: `python -m benchmarks.tables`.

Writes between the page's own marks, so that no number there is typed by hand. With --check it
writes nothing and exits with 1 where the page is not what the results say.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.card import ROOT
from benchmarks.picture import drawn
from benchmarks.results import FOLDER, kept

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"
MARK = re.compile(r"(<!-- results: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
LIMITS = ("capability", "memory_gib", "power_limit", "driver", "threads", "cores", "dtype",
          "residency", "quantised")  # fmt: skip
LEVERS = ("attention", "blocks", "batched_tokens", "vae_layout", "freed_memory", "fp8_products")
# What makes two results of a scenario different measurements and not an older and a newer one.
APART = ("device", "scenario", "weights", "generation", "plan_id", "frames", "dtype", "residency",
         "quantised", "levers")  # fmt: skip
Result = dict[str, Any]


def latest(results: Iterable[Result]) -> list[Result]:
    """The newest result of each scenario on each device, of each kind of weights and way to
    compute; one that was cut off only where there is no whole one.
    """
    newest: dict[tuple[str, ...], Result] = {}
    for result in results:
        card = result["card"]
        sides = (str(result.get("a", "")), str(result.get("b", "")), str(result.get("plan", "")))
        key = (*(str(card.get(name, "")) for name in APART), *sides)
        if card.get("partial") and key in newest and not newest[key]["card"].get("partial"):
            continue
        newest[key] = result
    return list(newest.values())


def clips(results: list[Result]) -> str:
    """Whole clips: ours and the baselines, with ratios to ours."""
    lines = []
    for result in results:
        floor = result.get("floor_seconds")
        if floor is None:
            continue
        for row in result["rows"]:
            ratio = result["ratios"].get(f"ours / {row['name']}")
            per_step = row.get("forwards_per_step")
            lines.append(
                (
                    where(result),
                    scenario(result),
                    row["name"],
                    seconds(row["seconds"]),
                    "" if per_step is None else f"{per_step:g} / {row['rows_per_step']:g}",
                    share(row.get("mfu")),
                    "" if "denoise_seconds" not in row else f"{row['denoise_seconds']:.4g}",
                    share(row.get("denoise_mfu")),
                    f"{max(row['peak_gib'].values()):.2f}",
                    "" if ratio is None else f"{ratio:.2f}",
                )
            )
    head = ("where", "scenario", "what", "seconds, median (lowest to highest)",
            "forwards / rows a step", "MFU", "denoising, seconds", "denoising, MFU", "peak GiB",
            "ours / this")  # fmt: skip
    return table(head, lines)


def steps(results: list[Result]) -> str:
    """Single denoising steps."""
    lines = [
        (
            where(result),
            row["name"],
            str(row["tokens"]),
            f"{row['forwards_per_step']:g}",
            f"{row['tflop']:.4g}",
            seconds(row["seconds"]),
            f"{row['mfu']:.1%}",
        )
        for result in results
        if result["card"]["scenario"] == "forward"
        for row in result["rows"]
    ]
    head = ("where", "step", "tokens", "forwards", "TFLOP", "seconds", "MFU")
    return table(head, lines)


def others(results: list[Result]) -> str:
    """Everything that has rows of seconds and is neither a clip nor a step."""
    lines = []
    for result in results:
        if result.get("floor_seconds") is not None or result["card"]["scenario"] == "forward":
            continue
        for row in result.get("rows", ()):
            if "seconds" not in row:
                continue
            facts = {key: row[key] for key in ("tflops", "gb_per_second", "ms_per_frame", "mfu",
                                               "clips_per_minute", "reserved_gib")
                     if key in row}  # fmt: skip
            told = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in facts.items())
            lines.append(
                (where(result), scenario(result), row["name"], seconds(row["seconds"]), told)
            )
    return table(("where", "scenario", "what", "seconds", ""), lines)


def ratios(results: list[Result]) -> str:
    """Ratios of a run, which hold where seconds do not."""
    lines = [
        (where(result), scenario(result), name, f"{value:.3f}")
        for result in results
        for name, value in result.get("ratios", {}).items()
    ]
    return table(("where", "scenario", "ratio", "value"), lines)


def machines(results: list[Result]) -> str:
    """Where and when: what a row's letter stands for."""
    lines = []
    for result in results:
        card = result["card"]
        told = [name for name in LIMITS if name in card]
        more = ", ".join(f"{name.replace('_', ' ')} {card[name]}" for name in told if card[name])
        levers = card.get("levers", {})
        pulled = ", ".join(f"{name} {levers[name]}" for name in LEVERS if name in levers)
        lines.append(
            (where(result), scenario(result), card["date"], card["commit"],
             f"torch {card['torch']}, diffusers {card['diffusers']}", more, pulled,
             card.get("plan", ""), card.get("plan_id", "")))  # fmt: skip
    head = ("where", "scenario", "date", "commit", "versions", "", "levers", "plan", "id")
    return table(head, lines)


def quality(results: list[Result]) -> str:
    """What an option costs: B beside A at one seed."""
    lines = [
        (
            where(result),
            f"`{result['a']}`",
            f"`{result['b']}`",
            result["plan"],
            f"{max(result['latent_error']):.3g}",
            f"{min(result['psnr']):.1f} / {sum(result['psnr']) / len(result['psnr']):.1f}",
            f"{min(result['ssim']):.4f}",
            f"{result['audio_snr']:.1f}",
            _allowed(result),
        )
        for result in results
        if result["card"]["scenario"] == "compare"
    ]
    head = ("where", "A", "B", "plan", "latents, largest error", "PSNR dB, least / mean",
            "SSIM, least", "sound SNR dB", "allowed: latents; PSNR")  # fmt: skip
    return table(head, lines)


def _allowed(result: Result) -> str:
    """The limit of a comparison, and whether it was exceeded."""
    limit = result["limit"]
    allowed = f"{limit.get('latents', 'any')}; {limit['psnr']:g}"
    return f"{allowed}, **exceeded**" if result["problems"] else allowed


TABLES: dict[str, Callable[[list[Result]], str]] = {
    "clips": clips,
    "steps": steps,
    "others": others,
    "ratios": ratios,
    "quality": quality,
    "machines": machines,
}


def where(result: Result) -> str:
    """Device and weights in a few words."""
    card = result["card"]
    weights = card.get("weights", "")
    if weights == "random":
        weights = f"{card.get('generation', card.get('checkpoint'))}, random"
    if card.get("partial"):
        weights = f"{weights}, cut off" if weights else "cut off"
    return f"{card['device']}{f' ({weights})' if weights else ''}"


def scenario(result: Result) -> str:
    """Its name, and in what a clip was not the scenario's own."""
    card = result["card"]
    changed = f" with {card['changed']}" if card.get("changed") else ""
    return f"`{card['scenario']}`{changed}"


def share(value: float | None) -> str:
    """A share in percent; nothing where it was not measured."""
    return "" if value is None else f"{value:.1%}"


def seconds(spread: dict[str, float]) -> str:
    """Median and spread."""
    return f"{spread['median']:.4g} ({spread['min']:.4g} to {spread['max']:.4g})"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of a document; a sentence where there is nothing to show."""
    if not lines:
        return "Nothing has been measured yet.\n"
    rows = [head, ["-"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str, results: list[Result]) -> str:
    """The page with every marked place filled. Raises KeyError for a mark that has no table."""
    return MARK.sub(lambda mark: f"{mark[1]}{TABLES[mark[2]](results)}{mark[4]}", page)


def main(given: Sequence[str] | None = None) -> int:
    """Write the page and the picture, or check them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=FOLDER)
    arguments = parser.parse_args(given)
    results = latest(kept(arguments.results))
    wanted = {PAGE: filled(PAGE.read_text(encoding="utf-8"), results), PICTURE: drawn(results)}
    stale = [
        file.name
        for file, text in wanted.items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    ]
    if arguments.check:
        print(*(f"{name} is not what the results say" for name in stale), sep="\n")
        return 1 if stale else 0
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")
    print(f"written: {', '.join(stale) or 'nothing new'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
