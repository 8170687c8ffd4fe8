"""The requests on existing videos whose plans are kept as a file: each task, factor and length."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from ltx2.extent import Limits
from ltx2.media.video import AudioTrack, VideoFacts
from ltx2.video_planner import plan_video
from ltx2.video_request import VideoRequest
from pipelines.models import CHECKPOINTS
from pipelines.plan import RestorePlan
from tests.golden.cases import FOLDER, lines

FILE = FOLDER / "videos.json"


def source(**changes) -> VideoFacts:
    """Five seconds of film in 540p with sound; the hash stands for its bytes."""
    values = {
        "path": Path("in.mp4"),
        "sha256": "c" * 64,
        "width": 960,
        "height": 540,
        "rate": Fraction(24000, 1001),
        "frames": 120,
        "codec": "h264",
        "variable": False,
        "interlaced": False,
        "audio": (AudioTrack(codec="aac", sample_rate=48000),),
        "delay": Fraction(0),
        "stream": 0,
        "matrix": "bt709",
    }
    return VideoFacts(**{**values, **changes})


def cases() -> Iterator[tuple[str, str, VideoRequest, VideoFacts]]:
    """Name, checkpoint, request and source of every golden plan."""

    def case(name, checkpoint, facts=None, task="upscale", **fields):
        request = VideoRequest(task=task, video=Path("in.mp4"), seed=7, **fields)
        return f"{checkpoint}: {name}", checkpoint, request, facts or source()

    for checkpoint in ("tiny", "ltx-2"):
        yield case("detail", checkpoint, task="detail")
        yield case("detail, fast, weaker", checkpoint, task="detail", mode="fast", strength=0.5)
    yield case("detail of a long video", "ltx-2", source(frames=1000), task="detail")
    yield case("detail of a few odd frames", "ltx-2", source(width=201, frames=10), task="detail")
    for checkpoint in CHECKPOINTS:
        yield case("twice as large", checkpoint)
        yield case("twice as large, pro", checkpoint, mode="pro", prompt="A red ball rolls left.")
        yield case("twice the frames", checkpoint, spatial=1, temporal=True)
    yield case("half as large again", "ltx-2.3", spatial=1.5)
    yield case("half as large again, twice the frames", "ltx-2.3", spatial=1.5, temporal=True)
    yield case("a long video", "ltx-2.3", source(frames=1440))
    yield case("not refined, without sound", "ltx-2.3", refine=False, audio=False)
    yield case("twice as large, detailed", "ltx-2", detailer=True, strength=0.8)


def plans() -> dict[str, RestorePlan]:
    """The plans by the name of their case."""
    made: dict[str, RestorePlan] = {}
    for name, checkpoint, request, facts in cases():
        assert name not in made, f"two cases are named {name}"
        made[name] = plan_video(request, facts, CHECKPOINTS[checkpoint], limits=Limits())
    return made


def written() -> str:
    """The golden file, as those of generations."""
    return lines(plans())
