"""What the stages of a plan cost on the parts of an engine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.cost import latents, text
from benchmarks.cost.transformer import Lengths, forward
from benchmarks.cost.work import Work

if TYPE_CHECKING:
    from ltx2.engine import Engine

SPATIAL, TEMPORAL = 32, 8  # pixels and frames of a latent cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Configurations of the parts that a plan uses."""

    transformer: Any
    encoder: Any
    connectors: Any
    decoder: Any
    spatial: Any | None
    temporal: Any | None
    prompt_tokens: int

    @classmethod
    def of(cls, engine: "Engine", plan: Any) -> "Costs":  # noqa: ANN401 - a plan
        """Of an engine's own parts, which are loaded for it."""
        variant, part = plan.base.variant, engine.components.part
        upscalers = set(plan.upscalers)
        return cls(
            transformer=part(f"transformer:{variant}").config,
            encoder=part("text_encoder").model.language_model.config
            if hasattr(part("text_encoder").model, "language_model")
            else part("text_encoder").model.config,
            connectors=part(f"connectors:{variant}").config,
            decoder=part("vae").config,
            spatial=part("spatial_upscaler").config if "spatial_upscaler" in upscalers else None,
            temporal=part("temporal_upscaler").config if "temporal_upscaler" in upscalers else None,
            prompt_tokens=part("tokenizer").model_max_length,
        )

    def stages(self, plan: Any) -> dict[str, Work]:  # noqa: ANN401
        """Work by the names of the stages that a run times; what is not counted is not named."""
        prompts = 1 if plan.negative_prompt is None else 2
        found = {
            "prompt": (
                text.encoder(self.encoder, self.prompt_tokens)
                + text.connectors(self.connectors, self.prompt_tokens)
            )
            * prompts,
            "base": self.denoise(plan.base),
        }
        if plan.upscalers:
            found["upsample"] = self._upscaled(plan)
        if plan.refine:
            found["refine"] = self.denoise(plan.refine)
        size = cells(plan.num_frames, plan.height, plan.width)
        found["decode+encode"] = latents.decoder(self.decoder, *size)
        return found

    def tiled_decode(self, plan: Any) -> Work:  # noqa: ANN401
        """What the decoder computes in the plan's overlapping tiles; the floor is one piece."""
        tile = plan.decode
        return latents.decoder_in_tiles(
            self.decoder,
            cells(plan.num_frames, plan.height, plan.width),
            (tile.tile_frames // TEMPORAL, tile.tile_height // SPATIAL, tile.tile_width // SPATIAL),
            (tile.overlap_frames // TEMPORAL, tile.overlap // SPATIAL, tile.overlap // SPATIAL),
        )

    def denoise(self, part: Any) -> Work:  # noqa: ANN401 - a pass of a plan
        """A whole pass: every row of every step."""
        return self.step(part) * part.steps

    def step(self, part: Any) -> Work:  # noqa: ANN401
        """One step of a pass with the rows that its guidance needs."""
        frames, rows, columns = cells(part.frames, part.height, part.width)
        beside = len([each for each in part.conditions if each.frame]) + len(part.slots)
        tokens = (frames + beside) * rows * columns
        lengths = Lengths(video=tokens, audio=part.audio_latents, text=self.prompt_tokens)
        video, audio = part.video_guidance, part.audio_guidance
        absent = part.sound == "absent"
        plain = forward(self.transformer, lengths, isolated=absent)
        work = plain
        if video.cfg != 1 or audio.cfg != 1:
            work += plain
        if video.stg or audio.stg:
            blocks = len(part.stg_blocks)
            work += forward(self.transformer, lengths, isolated=absent, perturbed=blocks)
        if video.modality != 1 or audio.modality != 1:
            work += forward(self.transformer, lengths, isolated=True)
        return work

    def _upscaled(self, plan: Any) -> Work:  # noqa: ANN401
        work, size = Work(), cells(plan.base.frames, plan.base.height, plan.base.width)
        for name in plan.upscalers:
            config: Any = self.spatial if name == "spatial_upscaler" else self.temporal
            work += latents.upscaler(config, *size)
            frames, rows, columns = size
            size = (
                (frames, 2 * rows, 2 * columns)
                if name == "spatial_upscaler"
                else (2 * frames - 1, rows, columns)
            )
        return work


def cells(frames: int, height: int, width: int) -> tuple[int, int, int]:
    """Latent frames, rows and columns of a clip."""
    return (frames - 1) // TEMPORAL + 1, height // SPATIAL, width // SPATIAL
