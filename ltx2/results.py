"""What a generation answers.

A Receipt where a file was delivered, a Result where the frames are wanted in memory.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipelines.plan import Plan, RestorePlan
from pipelines.values import Clip

if TYPE_CHECKING:
    import numpy as np

    from ltx2.lora_files import Matches
    from ltx2.media.encode import Encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A delivered clip: `as_dict()` is the Result of the public contract."""

    plan: Plan | RestorePlan
    encoded: "Encoded"
    delivered: dict[str, str]  # how to get the file, e.g. {"video_url": ...}
    timings: dict[str, float]  # seconds per stage
    generation_id: str | None = None
    warnings: tuple[str, ...] = ()  # those of the run, after the plan's
    matches: "Matches" = field(default_factory=dict)  # what of each LoRA acted where
    source: Mapping[str, Any] | None = None  # facts of the video it was made of
    weights: Mapping[str, str] = field(default_factory=dict)  # rounded ones, as `mp4_metadata`

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        plan, made = self.plan, self.encoded
        return {
            **self.delivered,
            "content_type": "video/mp4",
            "bytes": made.bytes,
            "sha256": made.sha256,
            "width": made.width,
            "height": made.height,
            "fps": plan.fps,
            "num_frames": made.num_frames,
            "duration": plan.duration,
            "has_audio": made.audio_sample_rate is not None,
            "audio_sample_rate": made.audio_sample_rate,
            "seed": plan.seed,
            "prompt": plan.prompt,
            "mode": plan.mode,
            "checkpoint": plan.checkpoint,
            "model_version": plan.generation,
            "plan_id": plan.id,
            "weights": dict(self.weights),
            "snaps": [{"name": s.name, "asked": s.asked, "used": s.used} for s in plan.snaps],
            "warnings": [*plan.warnings, *self.warnings],
            "loras": lora_entries(plan, self.matches),
            "timings": {name: round(seconds, 3) for name, seconds in self.timings.items()},
            "generation_id": self.generation_id,
            **({} if self.source is None else {"source": dict(self.source)}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A clip in memory, for Python."""

    plan: Plan
    frames: "np.ndarray"  # uint8 (frames, height, width, 3), RGB
    audio: "np.ndarray | None"  # float32 (channels, samples) in -1..1; None without sound
    audio_sample_rate: int | None
    timings: dict[str, float] = field(default_factory=dict)  # seconds per stage
    warnings: tuple[str, ...] = ()
    encoder_options: Mapping[str, Any] = field(default_factory=dict)  # of `write_mp4`
    matches: "Matches" = field(default_factory=dict)  # what of each LoRA acted where
    weights: Mapping[str, str] = field(default_factory=dict)  # rounded ones, as `mp4_metadata`

    @property
    def seed(self) -> int:
        """The seed that was used, also where none was asked for."""
        return self.plan.seed

    @property
    def loras(self) -> list[dict[str, Any]]:
        """The LoRAs that acted, as in a Receipt."""
        return lora_entries(self.plan, self.matches)

    def clip(self) -> Clip:
        """The same clip as the encoder reads it."""
        return Clip(
            frames=self._chunks(),
            chunks=1,
            width=self.plan.width,
            height=self.plan.height,
            num_frames=self.plan.num_frames,
            fps=self.plan.fps,
            audio=self.audio,
            audio_sample_rate=self.audio_sample_rate,
        )

    def _chunks(self) -> Generator["np.ndarray"]:
        yield self.frames

    def save(self, path: str | Path) -> "Encoded":
        """Write the clip as an MP4; the file appears whole or not at all."""
        from ltx2.media.encode import write_mp4

        return write_mp4(
            self.clip(),
            Path(path),
            metadata=mp4_metadata(self.plan, self.weights),
            **self.encoder_options,
        )


def lora_entries(plan: Plan | RestorePlan, matches: "Matches") -> list[dict[str, Any]]:
    """One entry for each LoRA of each pass: what it is, how strong, and how much of it acted.

    `layers` are those of the transformer, `connector_layers` those of the text connectors.
    """
    entries: list[dict[str, Any]] = []
    for stage, part in plan.passes.items():
        for adapter in part.adapters:
            entry: dict[str, Any] = {
                "source": adapter.source,
                "stage": stage,
                "strength": adapter.strength,
            }
            if adapter.sha256 is not None:
                entry["sha256"] = adapter.sha256
            if match := matches.get((adapter.source, adapter.sha256)):
                entry |= {
                    "kind": match.kind,
                    "rank": match.rank,
                    "layers": match.layers("transformer"),
                    "connector_layers": match.layers("connectors"),
                }
            entries.append(entry)
    return sorted(entries, key=lambda entry: (entry["source"], entry["stage"], entry["strength"]))


def mp4_metadata(
    plan: Plan | RestorePlan, weights: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str] | None:
    """Tags of the file: what made it. None where the request switched them off.

    `weights` are the parts whose weights were rounded, each with its type: one plan gives another
    clip with them, and its id says nothing of it.
    """
    if not plan.metadata:
        return None
    rounded = "; ".join(f"{part} {kind}" for part, kind in weights.items())
    return {
        **({"weights": rounded} if rounded else {}),
        "prompt": plan.prompt,
        "seed": str(plan.seed),
        "plan_id": plan.id,
        "mode": plan.mode,
        "checkpoint": plan.checkpoint,
        "model_version": plan.generation,
    }
