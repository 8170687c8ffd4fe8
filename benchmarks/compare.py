"""Two ways to make the same clip, by what comes out: `python -m benchmarks.compare A B`.

A and B are what differs: variables of the settings, joined by commas, as
`LTX2_DTYPE=bfloat16,LTX2_RESIDENCY=offload`; `plain` for none; or a file that --save wrote, on
another machine or commit. Request and seed are the same. Prints the error of the latents step by
step, PSNR and SSIM frame by frame, and that of the sound; one JSON document last, which is kept as
those of the scenarios are. With --psnr or --latents, exits with 1 where B is further from A than
that. `--weights random` draws the checkpoint's weights on the device, the same for both sides.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ltx2
from benchmarks.bench import PROMPT
from benchmarks.card import machine, plan_line
from benchmarks.quality import MOST, by_frame, relative_error, snr
from benchmarks.results import FOLDER, keep, rounded
from benchmarks.timing import Stages
from ltx2.engine import find_device
from ltx2.prepare import prepare
from ltx2.settings import Settings, process_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a run gave on its way: video latents before each step and as they are decoded, sound,
    frames.
    """

    plan: str
    # float32: (tokens, channels) by step over all passes, then what the decoder is given, flat
    latents: list[np.ndarray]
    frames: np.ndarray  # uint8 (frames, height, width, 3)
    audio: np.ndarray  # float32 (channels, samples); empty without sound

    def save(self, file: Path) -> None:
        """Keep it."""
        held: dict[str, Any] = {f"step{n:03d}": each for n, each in enumerate(self.latents)}
        held |= {"frames": self.frames, "audio": self.audio}
        held |= {"plan": np.array(self.plan)}
        np.savez_compressed(file, **held)

    @classmethod
    def read(cls, file: Path) -> "Trace":
        """What was kept."""
        with np.load(file) as held:
            steps = sorted(name for name in held.files if name.startswith("step"))
            return cls(
                plan=str(held["plan"]),
                latents=[held[name] for name in steps],
                frames=held["frames"],
                audio=held["audio"],
            )


class Watched(Stages):
    """A progress that notes the video latents that a step begins with, and those decoded."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.latents: list[np.ndarray] = []
        self._decoded: list[np.ndarray] = []
        self._last: torch.Tensor | None = None

    @contextmanager
    def watching(self, transformer: torch.nn.Module, vae: Any) -> Iterator[None]:  # noqa: ANN401
        """Notes what these are given inside the block."""
        hook = transformer.register_forward_pre_hook(self._note, with_kwargs=True)
        decode = vae.decode

        def noted(latents: torch.Tensor, *given: Any, **named: Any) -> Any:  # noqa: ANN401
            self._decoded.append(latents.float().cpu().numpy().ravel())
            return decode(latents, *given, **named)

        vae.decode = noted
        try:
            yield
        finally:
            hook.remove()
            del vae.decode

    @property
    def all_latents(self) -> list[np.ndarray]:
        """By step, and last those that the decoder was given, tile after tile."""
        return [*self.latents, np.concatenate(self._decoded)]

    def _note(
        self, _module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        self._last = named["hidden_states"] if "hidden_states" in named else given[0]

    def step(self) -> None:
        """The pass's first row alone: all rows of a guided step begin with the same latents."""
        if self._last is not None:
            self.latents.append(self._last[0].float().cpu().numpy())
            self._last = None
        super().step()


def traced(settings: Settings, given: argparse.Namespace) -> Trace:
    """A run under these settings."""
    fields: dict[str, Any] = {
        name: value
        for name in ("width", "height", "num_frames", "image", "num_inference_steps")
        if (value := getattr(given, name)) is not None
    }
    with tempfile.TemporaryDirectory(prefix="ltx2-compare-") as scratch:
        engine = _engine(settings, given, Path(scratch))
        try:
            return _traced(engine, given, fields)
        finally:
            engine.let_go(parts=True)  # A must not lie in memory beside B


def _engine(settings: Settings, given: argparse.Namespace, scratch: Path) -> "ltx2.Engine":
    """On weights that are read or drawn."""
    if given.weights == "random":
        from ltx2.drawn import drawn_engine

        return drawn_engine(
            given.checkpoint,
            device=find_device(given.device or settings.device),
            settings=settings,
            scratch=scratch,
        )
    return ltx2.Engine.load(
        given.weights or given.checkpoint, mode=given.mode, device=given.device, settings=settings
    )


def _traced(engine: "ltx2.Engine", given: argparse.Namespace, fields: dict[str, Any]) -> Trace:
    """A clip of an engine."""
    drawn = given.weights == "random"
    request = ltx2.Request.parse(
        {"prompt": given.prompt, "seed": given.seed, "mode": given.mode, **fields}
    )
    ready = prepare(
        request,
        checkpoint=engine.checkpoint,
        limits=engine.limits,
        media=engine.media_limits,
        files=None if drawn else engine.lora_files,
        sources=None if drawn else engine.lora_sources,
    )
    engine.fitted(ready.plan)  # or parts that are watched would be moved by the run
    transformer = engine.components.part(f"transformer:{ready.plan.base.variant}")
    report = Watched(engine.components.device)
    with report.watching(transformer, engine.components.part("vae")):
        clip = engine.run(ready.plan, ready.inputs, report)
        with closing(clip.frames), report.stage("decode"):
            frames = np.concatenate(list(clip.frames))
    audio = np.zeros((0, 0), np.float32) if clip.audio is None else clip.audio
    return Trace(
        plan=f"{ready.plan.id}: {plan_line(ready.plan)}",
        latents=report.all_latents,
        frames=frames,
        audio=audio,
    )


def compared(one: Trace, other: Trace) -> dict[str, Any]:
    """Every measure of B beside A. Raises ValueError for traces of different clips."""
    shapes = [[each.shape for each in trace.latents] for trace in (one, other)]
    if shapes[0] != shapes[1] or one.frames.shape != other.frames.shape:
        raise ValueError("these are traces of clips of different sizes, steps or tiles")
    frames = list(by_frame(one.frames, other.frames))
    return {
        "latent_error": [
            relative_error(*pair) for pair in zip(one.latents, other.latents, strict=True)
        ],
        "psnr": [value for value, _ in frames],
        "ssim": [value for _, value in frames],
        "audio_snr": snr(one.audio, other.audio) if one.audio.size else MOST,
        "audio_largest": float(np.abs(one.audio - other.audio).max()) if one.audio.size else 0.0,
    }


def side(text: str, given: argparse.Namespace) -> Trace:
    """A trace that was kept, or a run with these variables."""
    if text.endswith(".npz"):
        return Trace.read(Path(text))
    own = {} if text == "plain" else dict(each.split("=", 1) for each in text.split(","))
    return traced(Settings.from_env({**process_environment(), **own}), given)


def main(given: Sequence[str] | None = None) -> int:
    """Compare two sides; the exit status."""
    parser = _parser()
    arguments = parser.parse_args(given)
    if arguments.weights == "random" and "LTX2_DTYPE" in f"{arguments.a},{arguments.b}":
        parser.error("LTX2_DTYPE with random: weights of another type are drawn otherwise")
    one = side(arguments.a, arguments)
    other = side(arguments.b, arguments)
    if arguments.save:
        other.save(arguments.save)
    found = compared(one, other)
    print(f"A {arguments.a}\nB {arguments.b}\n{other.plan}\n")
    for number, error in enumerate(found["latent_error"]):
        last = number + 1 == len(found["latent_error"])
        where = "that are decoded" if last else f"before step {number + 1:>4}"
        print(f"latents {where}   error {error:.3g}")
    for number, (decibel, alike) in enumerate(zip(found["psnr"], found["ssim"], strict=True)):
        print(f"frame {number:>4}   PSNR {decibel:6.2f} dB   SSIM {alike:.5f}")
    print(f"sound   SNR {found['audio_snr']:.2f} dB   largest {found['audio_largest']:.3g}")
    problems = judged(found, arguments.psnr, arguments.latents)
    print(*(f"PROBLEM: {problem}" for problem in problems), sep="\n")
    card = {"scenario": "compare", **machine(find_device(arguments.device))}
    card |= {
        "checkpoint": arguments.checkpoint,
        "weights": arguments.weights or arguments.checkpoint,
    }
    told = {"card": card, "a": arguments.a, "b": arguments.b, "plan": other.plan, **found}
    line = json.dumps(rounded({**told, "problems": problems}), separators=(",", ":"))
    if not arguments.no_keep and not problems:
        keep(line, card["device"], arguments.results)
    print(line)
    return 1 if problems else 0


def judged(found: dict[str, Any], decibels: float | None, error: float | None) -> list[str]:
    """What is further off than it may be."""
    problems: list[str] = []
    if decibels is not None and min(found["psnr"]) < decibels:
        problems.append(f"a frame has {min(found['psnr']):.2f} dB; {decibels} are asked for")
    if error is not None and max(found["latent_error"]) > error:
        problems.append(f"latents are off by {max(found['latent_error']):.3g}; {error} is allowed")
    return problems


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("a", help="the reference")
    parser.add_argument("b", help="what is held against it")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument(
        "--weights", help="a folder or file, or random: drawn; default the checkpoint's own"
    )
    parser.add_argument("--device", help="default the GPU where there is one")
    parser.add_argument("--mode", choices=("fast", "pro"), default="fast")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--image", help="the first frame")
    for name in ("--width", "--height", "--num-frames", "--num-inference-steps"):
        parser.add_argument(name, type=int)
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="keep B's trace")
    parser.add_argument("--no-keep", action="store_true", help="leave the results' file alone")
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder of such files")
    parser.add_argument("--psnr", type=float, help="least of every frame, in dB")
    parser.add_argument("--latents", type=float, help="most of every step, as a share")
    return parser


if __name__ == "__main__":
    sys.exit(main())
