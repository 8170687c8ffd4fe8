"""The commands on existing videos: `ltx2 detail` and `ltx2 upscale`."""

import argparse
import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.errors import BadRequest
from ltx2.flags import add_run_flags, chosen_settings, number

if TYPE_CHECKING:
    from ltx2.settings import Settings
    from ltx2.video_request import VideoRequest


def add_commands(commands: Any) -> list[argparse.ArgumentParser]:  # noqa: ANN401 - argparse's own
    """Both commands with their options."""
    detail = commands.add_parser("detail", help="redraw an existing video with more detail")
    upscale = commands.add_parser("upscale", help="enlarge an existing video, or double its frames")
    upscale.add_argument(
        "--spatial",
        metavar="{2,1.5,1}",
        default=argparse.SUPPRESS,
        help="how much larger along each edge; 1 keeps the size. 1.5 is there for some models. "
        "Default 2.",
    )
    upscale.add_argument(
        "--temporal",
        action="store_true",
        default=argparse.SUPPRESS,
        help="Twice the frames a second, at the same length.",
    )
    upscale.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        default=argparse.SUPPRESS,
        help="Leave out the model's pass over the enlarged video: fast, but soft.",
    )
    upscale.add_argument(
        "--prompt",
        metavar="TEXT",
        default=argparse.SUPPRESS,
        help="What the video shows, for the refine pass. Default is none.",
    )
    upscale.add_argument(
        "--detailer",
        action="store_true",
        default=argparse.SUPPRESS,
        help="Add the detail pass at the end.",
    )
    for command, task, default in ((detail, "detail", "pro"), (upscale, "upscale", "fast")):
        _add_shared(command, default)
        command.set_defaults(run=run_restore, task=task)
    return [detail, upscale]


def _add_shared(command: argparse.ArgumentParser, mode: str) -> None:
    command.add_argument("video", type=Path, help="the file to work on; it is left as it is")
    add_run_flags(command)
    command.add_argument(
        "--mode",
        metavar="{fast,pro}",
        default=argparse.SUPPRESS,
        help=f"fast: distilled model. pro: full model. Default {mode}.",
    )
    command.add_argument(
        "--strength",
        metavar="X",
        default=argparse.SUPPRESS,
        help="Strength of the detailer. Above 0, up to 2. Default 1.0.",
    )
    command.add_argument(
        "--seed",
        metavar="N",
        default=argparse.SUPPRESS,
        help="Same seed, same result; without it one is drawn, which the result carries.",
    )
    command.add_argument(
        "--no-audio",
        dest="audio",
        action="store_false",
        default=argparse.SUPPRESS,
        help="Leave the video's sound away; else it is taken over as it is.",
    )
    command.add_argument(
        "--no-metadata",
        dest="metadata",
        action="store_false",
        default=argparse.SUPPRESS,
        help="Write no prompt, seed and plan id into the MP4.",
    )


def read_video_request(
    arguments: argparse.Namespace, problems: list[str] | None = None
) -> "VideoRequest":
    """The request of a command line. Raises BadRequest with every problem, known ones first."""
    from dataclasses import fields

    from ltx2.video_request import VideoRequest

    names = {field.name for field in fields(VideoRequest)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    for name in ("spatial", "strength", "seed"):
        if name in given:
            given[name] = number(given[name])
    found = list(problems or [])
    try:
        request = VideoRequest(**given)
    except BadRequest as error:
        raise BadRequest([*found, *error.problems]) from error
    if found:
        raise BadRequest(found)
    return request


def run_restore(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Everything refusable is refused before torch is imported and before weights are touched."""
    from ltx2.cli import conclude, device_problems, explain, introduce, output_problems, render
    from ltx2.delivery.file import ToFile
    from ltx2.video_session import detailer_downscale, execute_video, prepare_video
    from ltx2.weights import resolve, row_of

    known = [
        *arguments.unknown,
        *output_problems(arguments.output),
        *_overwriting(arguments.video, arguments.output),
        *device_problems(arguments.device),
    ]
    request = read_video_request(arguments, known)
    settings = chosen_settings(arguments, settings)
    wanted = arguments.checkpoint or settings.checkpoint
    needs: dict[str, Any] = {"mode": request.model, "parts": request.parts}
    row, _ = row_of(wanted, settings, **needs)
    prepared = prepare_video(request, checkpoint=row, limits=settings.limits())
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
        resolved = resolve(wanted, settings, **needs)
        root = resolved.path if resolved.path.is_dir() else resolved.path.parent
        downscale = detailer_downscale(resolved.row, root, settings) if request.details else None
        # Again, now that the detailer's file can say what it follows.
        prepared = prepare_video(
            request,
            checkpoint=resolved.row,
            limits=settings.limits(),
            facts=prepared.facts,
            reference_downscale=downscale,
        )
        introduce(resolved, wanted)
        explain(prepared.plan)
        run = partial(execute_video, prepared, deliver=ToFile(arguments.output))
        receipt = render(run, resolved, settings, arguments.device)
    return conclude(receipt, arguments, said=prepared.plan.warnings)


def _overwriting(video: Path, output: Path | None) -> list[str]:
    """The source is never written over: a result that is not liked would leave nothing."""
    try:
        same = output is not None and output.exists() and output.samefile(video)
    except OSError:
        same = False
    return [f"--output must be another file than the video, {video}"] if same else []
