"""The commands that tell what is there and fetch what is not: models, loras, doctor, download."""

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.errors import ConfigError
from ltx2.terminal import lines, say, show, table

if TYPE_CHECKING:
    from ltx2.doctor import Memory
    from ltx2.settings import Settings

DONE, FAILED = 0, 1


def run_models(arguments: argparse.Namespace, settings: "Settings") -> int:
    """The model table with what each mode lacks here, and what only some requests need."""
    from ltx2.weights import missing_extras, missing_files
    from pipelines.models import CHECKPOINTS

    rows = []
    for row in CHECKPOINTS.values():
        missing = {mode: missing_files(row, settings, mode) for mode in ("fast", "pro")}
        rows.append(
            {
                "name": row.name,
                "generation": row.generation.name,
                "width": row.width,
                "height": row.height,
                "seconds": row.seconds,
                "embedded": row.embedded,
                "repository": row.files.repository or None,
                "licence": row.files.licence,
                "gated": row.files.gated,
                "missing": missing,
                "missing_extras": missing_extras(row, settings),
            }
        )
    if arguments.json:
        show({"models": rows})
        return DONE
    table(
        ("NAME", "DEFAULT", "FAST", "PRO", "EXTRAS", "LICENCE"),
        [
            (
                row["name"],
                f"{row['width']}x{row['height']}, {row['seconds']:g} s",
                *(
                    _here(row["missing"][mode], embedded=row["embedded"])
                    for mode in ("fast", "pro")
                ),
                f"missing: {', '.join(row['missing_extras'])}" if row["missing_extras"] else "-",
                row["licence"] + (" (gated)" if row["gated"] else ""),
            )
            for row in rows
        ],
    )
    return DONE


def _here(missing: list[str], *, embedded: bool) -> str:
    if missing:
        return f"{len(missing)} missing"
    return "built in" if embedded else "here"


def run_loras(arguments: argparse.Namespace, settings: "Settings") -> int:
    """The catalogue: what each LoRA is for, how strong it acts where, and whether it is here."""
    from loras import catalog
    from ltx2.describe import lora_row
    from ltx2.weights import distilled_file, lora_file

    rows: list[dict[str, Any]] = []
    for entry in catalog.entries():
        find = distilled_file if entry.kind == "distilled" else lora_file
        path = find(entry.repository, entry.file, settings) if entry.repository else None
        rows.append({**lora_row(entry), "path": None if path is None else str(path)})
    if arguments.json:
        show({"loras": rows})
        return DONE
    table(
        ("ID", "KIND", "FOR", "STRENGTH", "HERE", "LICENCE", "SOURCE", "WORDS FOR IT"),
        [
            (
                row["id"],
                row["kind"],
                ", ".join(row["generations"]),
                ", ".join(f"{name} {strength:g}" for name, strength in row["strengths"].items()),
                "built in" if row["built_in"] else "yes" if row["path"] else "no",
                row["licence"],
                row["source"] or "-",
                (row["prompt_suffix"] or "-").removeprefix(", "),
            )
            for row in rows
        ],
    )
    return DONE


def run_doctor(arguments: argparse.Namespace, settings: "Settings") -> int:
    """What can run here; exit 1 if nothing can."""
    from ltx2.doctor import examine

    with contextlib.redirect_stdout(sys.stderr):
        report = examine(settings, arguments.checkpoint)
    if arguments.json:
        show(report.as_dict())
        return DONE if report.can_run else FAILED
    for check in report.checks:
        mark = "ok" if check.fine else "FAIL" if check.needed else "no"
        lines(f"{mark:<5}{check.name:<14} {check.found}")
    for name, modes in report.models.items():
        for mode, missing in modes.items():
            found = "complete" if not missing else f"missing {', '.join(missing)}"
            lines(f"{'ok' if not missing else 'no':<5}{name + ' ' + mode:<14} {found}")
    for name, extras in report.extras.items():
        for what, file in extras.items():
            lines(f"{'no':<5}{name:<14} {what} is optional and misses {file}")
    lines(f"auto chooses {report.auto}", "")
    _show_memory(report.memory)
    lines("settings: " + ", ".join(f"{name}={value}" for name, value in report.settings.items()))
    lines(
        "this machine can run"
        if report.can_run
        else "nothing can run until the FAIL lines are fixed"
    )
    return DONE if report.can_run else FAILED


def add_doctor_flags(doctor: argparse.ArgumentParser) -> None:
    """The options of `ltx2 doctor`."""
    doctor.add_argument(
        "--checkpoint",
        help="whose memory table, be its files here or not; default is what a clip would be made "
        "with",
    )


def _show_memory(memory: "Memory") -> None:
    """What usual clips take in each residency, and what there is."""
    from ltx2.memory_table import table as memory_table

    lines(f"memory for {memory.checkpoint}, mode fast; here: {memory.room}")
    if memory.rows:
        head, *cells = memory_table(list(memory.rows))
        table(head, cells)
    lines("")


def add_download_flags(download: argparse.ArgumentParser) -> None:
    """The options of `ltx2 download`."""
    download.add_argument(
        "--checkpoint",
        help="a name of `ltx2 models` or a repository; default ltx-2.3, with --loras no model",
    )
    download.add_argument(
        "--mode",
        choices=("fast", "pro", "all"),
        default="all",
        help="whose files (default all)",
    )
    download.add_argument(
        "--loras",
        action="store_true",
        help="also the model's camera and detail LoRAs; without --checkpoint every LoRA of "
        "`ltx2 loras` and nothing else",
    )
    download.add_argument(
        "--diffusers",
        action="store_true",
        help="the diffusers layout instead of the original files",
    )
    download.add_argument("--to", type=Path, help="a plain folder; default the Hugging Face cache")
    download.add_argument(
        "--dry-run", action="store_true", help="list files and sizes, fetch nothing"
    )
    download.add_argument(
        "--verify",
        action="store_true",
        help="also read files that are there and compare their checksums",
    )


def run_download(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Fetch weights, or only say what would be fetched."""
    from ltx2.download import Order, carry_out, check_room, gigabytes, sources_of, survey
    from ltx2.hub import Hub

    order = Order(
        checkpoint=arguments.checkpoint or (None if arguments.loras else "ltx-2.3"),
        mode=arguments.mode,
        loras=arguments.loras,
        diffusers=arguments.diffusers,
        to=arguments.to,
        verify=arguments.verify,
    )
    sources_of(order)  # what cannot be downloaded is refused before the network is asked
    if settings.hf_offline:
        raise ConfigError("HF_HUB_OFFLINE is set: nothing can be downloaded until it is unset")
    hub = Hub(endpoint=settings.hf_endpoint, token=settings.hf_token)
    others = [settings.runpod_cache] if settings.runpod_cache else []
    found = survey(order, hub, cache=settings.hub_cache, other_caches=others)
    say(
        f"{len(found.items)} files, {gigabytes(found.total)}, of which "
        f"{gigabytes(found.to_fetch)} are to come, "
        f"into {found.target} ({gigabytes(found.free)} free)",
        f"licence: {'; '.join(found.licences) or 'see the repository'}",
        *(f"warning: left out: {why}" for why in found.left_out),
    )
    if arguments.dry_run:
        for item in found.items:
            say(
                f"{item.state:<8} {gigabytes(item.file.bytes):>9}  "
                f"{item.repository.name}/{item.file.path}"
            )
        check_room(found)
    else:
        try:
            carry_out(found, hub, tell=say)
        except KeyboardInterrupt:
            say("\nwhat has come is kept: the same command continues")
            raise
        found = survey(
            replace(order, verify=False), hub, cache=settings.hub_cache, other_caches=others
        )
    if arguments.json:
        show({**found.as_dict(), "dry_run": arguments.dry_run})
    elif not arguments.dry_run:
        say(f"complete: {found.target}")
    return DONE
