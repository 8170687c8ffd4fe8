"""One pass of the sampler over video and audio together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pipelines.components import Components
from pipelines.geometry import SPATIAL, latent_frames
from pipelines.plan import DenoisePlan
from pipelines.speed.attention import attention_order
from pipelines.speed.blocks import FastBlocks, fast_blocks
from pipelines.speed.levers import Levers
from pipelines.speed.runs import Levels, levels_of
from pipelines.stages.guidance import Call, Estimate, calls_of, combined
from pipelines.tokens import pack_audio, pack_video, unpack_audio, unpack_video
from pipelines.upstream.conditioned_tokens import hold, start, to_x0
from pipelines.upstream.cross_modal_gate import cross_modal_gate
from pipelines.upstream.first_frame_marker import first_frame_marker
from pipelines.upstream.keyframe_position import appended_positions
from pipelines.upstream.perturbed_attention import perturbed_streams
from pipelines.upstream.static_schedule import static_schedule
from pipelines.values import Latents, NonFinite, Placed, Progress, Prompts

AUDIO_MEL_BINS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What stays the same over a pass: the grid, the positions and what is held."""

    frames: int  # latent frames, rows and columns of the clip itself
    height: int
    width: int
    audio: int  # audio latents
    fps: float
    video_positions: Tensor  # (1, 3, tokens, 2)
    audio_positions: Tensor  # (1, 1, audio latents, 2)
    clean: Tensor  # (1, tokens, 128) what conditioned tokens are held at, zeros elsewhere
    mask: Tensor | None  # (1, tokens, 1), 1 - strength; None where nothing is held
    levels: Levels | None  # the same by stretches of tokens
    shares: Tensor | None  # (1, levels)
    marker: Tensor | None  # (1, tokens, 1), latents that hold one frame and are to be made
    slots: slice  # tokens of the invented pictures; empty without any

    @property
    def tokens(self) -> int:
        """Video tokens of the clip itself, without appended ones."""
        return self.frames * self.height * self.width


@torch.inference_mode()
def denoise(
    model: Components,
    plan: DenoisePlan,
    prompts: Prompts,
    *,
    stage: str,
    noise: torch.Generator,
    step_noise: torch.Generator | None = None,
    init: Latents | None = None,
    placed: tuple[Placed, ...] = (),
    progress: Progress,
) -> Latents:
    """Run the plan's schedule from noise to clean latents.

    With `init`, it starts from that, noised to the first sigma. `noise` is a CPU generator: the
    start is drawn from it in float32 as packed tokens, video first, then audio, appended tokens
    included; for a sound that is not made here none is drawn. `step_noise` is the ancestral
    sampler's own. `stage` is its name in errors. A sound that is not made here comes back as it
    was in `init`.
    """
    with ExitStack() as stack:
        fast = fast_blocks(model.levers.blocks, model.device)
        transformer = stack.enter_context(
            model.using_transformer(plan.variant, plan.adapters, _prepared(model.levers, fast))
        )
        stack.enter_context(cross_modal_gate(transformer))
        stack.enter_context(attention_order(model.levers.attention, model.device))
        canvas = _canvas(transformer, plan, placed, model.device)
        # Processes that share a pass hold other tokens each: theirs keep a timestep for each.
        if fast is not None and model.shared is nullcontext:
            fast.levels = canvas.levels
        video, audio = _start(canvas, plan, init, noise, transformer.config.audio_in_channels)
        schedules = [static_schedule(plan, model.device) for _ in range(2)]
        batches = batched(calls_of(plan, prompts), video.shape[1], model.levers.batched_tokens)
        forward = Forward(
            transformer=transformer,
            dtype=transformer.dtype,
            canvas=canvas,
            plan=plan,
            fast=fast,
        )
        for sigma, step in zip(plan.sigmas[:-1], schedules[0].timesteps, strict=False):
            found = [
                estimate
                for calls in batches
                for estimate in forward.estimates(sigma, video, audio, calls)
            ]
            x0 = combined(found, plan)
            held = hold(x0.video, canvas.clean, canvas.mask)
            options = {"generator": step_noise, "return_dict": False}
            velocity = (video - held) / sigma
            video = schedules[0].step(velocity, step, video, **options)[0]
            if plan.sampler == "ancestral_euler":
                video = hold(video, canvas.clean, canvas.mask)
            if plan.sound == "joint":
                audio = schedules[1].step((audio - x0.audio) / sigma, step, audio, **options)[0]
            progress.step()
        grid = (canvas.height, canvas.width)
        latents = Latents(
            video=unpack_video(video[:, : canvas.tokens], canvas.frames, *grid),
            audio=_sound_of(plan, init, audio),
            slots=unpack_video(video[:, canvas.slots], len(plan.slots), *grid)
            if plan.slots
            else None,
        )
    return finite(latents, stage)


def _prepared(
    levers: Levers, fast: FastBlocks | None
) -> Callable[[nn.Module], AbstractContextManager[None]]:
    """What is done to a transformer for the length of a pass."""

    @contextmanager
    def prepare(transformer: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            if levers.fp8_products:
                from pipelines.speed.fp8 import products_in_fp8

                stack.enter_context(products_in_fp8(transformer))
            if fast is not None:
                stack.enter_context(fast.installed(transformer))
            yield

    return prepare


def _sound_of(plan: DenoisePlan, init: Latents | None, audio: Tensor) -> Tensor:
    """The sound that was made, or the one that came in where none was."""
    if plan.sound == "joint":
        return unpack_audio(audio, audio.shape[2] // AUDIO_MEL_BINS)
    if init is None:
        raise ValueError("a pass that makes no sound needs latents to start from")
    return init.audio


def finite(latents: Latents, stage: str) -> Latents:
    """The same latents, or NonFinite: a NaN must never become a black clip."""
    for name in ("video", "audio", "slots"):
        tensor = getattr(latents, name)
        if tensor is not None and not torch.isfinite(tensor).all():
            raise NonFinite(f"{stage}: the {name} latents are not finite")
    return latents


def _canvas(
    transformer: nn.Module, plan: DenoisePlan, placed: tuple[Placed, ...], device: torch.device
) -> Canvas:
    """Tokens of the clip, of the pictures beside it, of invented ones, and of what it follows."""
    frames, height, width = (
        latent_frames(plan.frames),
        plan.height // SPATIAL,
        plan.width // SPATIAL,
    )
    base = frames * height * width
    channels = transformer.config.in_channels
    positions = [
        transformer.rope.prepare_video_coords(1, frames, height, width, device, fps=plan.fps)
    ]
    clean = torch.zeros(1, base, channels, device=device)
    stretches: list[tuple[int, int, float]] = []
    mask = torch.ones(1, base, 1, device=device)
    empty = torch.zeros(1, channels, 1, height, width, device=device)
    invented = [
        Placed(latent=empty, strength=0.0, frame=frame, append=True) for frame in plan.slots
    ]
    beside = [item for item in placed if not item.reference]
    slots = slice(0, 0)
    for item in (*beside, *invented, *(item for item in placed if item.reference)):
        tokens = pack_video(item.latent.to(device, torch.float32))
        if item.append:
            if invented and item is invented[0]:
                slots = slice(clean.shape[1], clean.shape[1] + len(invented) * tokens.shape[1])
            positions.append(appended_positions(transformer, item, plan.fps).to(device))
            end = clean.shape[1] + tokens.shape[1]
            stretches.append((clean.shape[1], end, 1 - item.strength))
            clean = torch.cat((clean, tokens), dim=1)
            mask = torch.cat((mask, torch.full_like(tokens[..., :1], 1 - item.strength)), dim=1)
        else:
            clean[:, : tokens.shape[1]] = tokens
            mask[:, : tokens.shape[1]] = 1 - item.strength
            stretches.append((0, tokens.shape[1], 1 - item.strength))
    levels = levels_of(stretches, clean.shape[1]) if placed else None
    return Canvas(
        frames=frames,
        height=height,
        width=width,
        audio=plan.audio_latents,
        fps=plan.fps,
        video_positions=torch.cat(positions, dim=2),
        audio_positions=transformer.audio_rope.prepare_audio_coords(1, plan.audio_latents, device),
        clean=clean,
        mask=mask if placed else None,
        levels=levels,
        shares=None if levels is None else torch.tensor([levels.shares], device=device),
        marker=first_frame_marker(transformer, clean, height * width, slots),
        slots=slots,
    )


def _start(
    canvas: Canvas,
    plan: DenoisePlan,
    init: Latents | None,
    noise: torch.Generator,
    audio_channels: int,
) -> tuple[Tensor, Tensor]:
    """First states of both streams.

    Noise mixed into `init` (zeros without one), held tokens at their own level. A held sound is
    clean; where there is none, silence stands in for it, which nothing reads.
    """
    device = canvas.clean.device
    video, audio = (
        torch.zeros_like(canvas.clean),
        torch.zeros(1, canvas.audio, audio_channels, device=device),
    )
    if init is not None:
        video[:, : canvas.tokens] = pack_video(init.video)
        if init.slots is not None:
            video[:, canvas.slots] = pack_video(init.slots.to(device))
        if plan.sound == "joint":
            audio = pack_audio(init.audio).to(device)
        elif plan.sound == "held":
            audio = stretched(pack_audio(init.audio).to(device), canvas.audio)
    drawn = torch.randn(video.shape, generator=noise).to(device)
    video = start(video, canvas.clean, drawn, canvas.mask, plan.noise_scale)
    if plan.sound == "joint":
        drawn = torch.randn(audio.shape, generator=noise).to(device)
        audio = start(audio, audio, drawn, None, plan.noise_scale)
    return video, audio


def stretched(audio: Tensor, length: int) -> Tensor:
    """Packed audio latents (1, T, 128) over another number of latents, interpolated.

    A picture that is conditioned at another rate than it plays at runs faster or slower in the
    model's time; stretched alike, the sound stays beside it.
    """
    if audio.shape[1] == length:
        return audio
    return torch.nn.functional.interpolate(
        audio.transpose(1, 2), size=length, mode="linear", align_corners=True
    ).transpose(1, 2)


def batched(calls: Sequence[Call], tokens: int, most: int) -> list[list[Call]]:
    """The forward passes of a step, those as rows of one batch that differ in their text alone.

    `tokens` are a row's, and `most` those that a batch may have; a row alone may have more.
    """
    batches: list[list[Call]] = []
    for call in calls:
        last = batches[-1] if batches else []
        fits = (len(last) + 1) * tokens <= most
        if last and fits and _goes_with(call, last[0]):
            last.append(call)
        else:
            batches.append([call])
    return batches


def _goes_with(call: Call, other: Call) -> bool:
    same_pass = replace(call, text=other.text) == other
    shapes = [(text.video.shape, text.audio.shape) for text in (call.text, other.text)]
    return same_pass and shapes[0] == shapes[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Forward passes of one pass of the sampler."""

    transformer: nn.Module
    dtype: torch.dtype  # of its inputs; to ask the module looks through its weights
    canvas: Canvas
    plan: DenoisePlan
    fast: FastBlocks | None  # None where diffusers' own blocks compute

    def estimates(
        self, sigma: float, video: Tensor, audio: Tensor, calls: Sequence[Call]
    ) -> list[Estimate]:
        """One forward pass with a row for each call; these differ in their text alone.

        Unconditioned streams send one timestep for all tokens; no text mask: registers fill the
        padding.
        """
        transformer, canvas, plan, rows = self.transformer, self.canvas, self.plan, len(calls)
        dtype, device = self.dtype, video.device
        level = torch.full(
            (rows, 1), sigma * transformer.config.timestep_scale_multiplier, device=device
        )
        audio_level = level if plan.sound == "joint" else torch.zeros_like(level)
        with ExitStack() as stack:
            blocks = None
            if calls[0].perturb_video or calls[0].perturb_audio:
                blocks = stack.enter_context(self._perturbing(calls[0]))
            velocities = transformer(
                hidden_states=_rows(video, rows).to(dtype),
                audio_hidden_states=_rows(audio, rows).to(dtype),
                encoder_hidden_states=_texts([call.text.video for call in calls], device, dtype),
                audio_encoder_hidden_states=_texts(
                    [call.text.audio for call in calls], device, dtype
                ),
                timestep=self._timesteps(level),
                audio_timestep=audio_level,
                sigma=level[:, 0],
                audio_sigma=audio_level[:, 0],
                num_frames=canvas.frames,
                height=canvas.height,
                width=canvas.width,
                fps=canvas.fps,
                audio_num_frames=canvas.audio,
                video_coords=self._positions(canvas.video_positions, rows),
                audio_coords=self._positions(canvas.audio_positions, rows),
                isolate_modalities=calls[0].isolate or plan.sound == "absent",
                spatio_temporal_guidance_blocks=blocks,
                video_keyframes_mask=canvas.marker,
                return_dict=False,
            )
        return [
            Estimate(
                to_x0(video, video_velocity.float(), sigma, canvas.mask),
                to_x0(audio, audio_velocity.float(), sigma, None),
            )
            for video_velocity, audio_velocity in zip(
                *(velocity.split(1) for velocity in velocities), strict=True
            )
        ]

    def _timesteps(self, level: Tensor) -> Tensor:
        """Of the video: one for all tokens, one for each level, or one for each token."""
        canvas, fast = self.canvas, self.fast
        if canvas.mask is None or canvas.shares is None:
            return level
        by_level = fast is not None and fast.levels is not None
        return level * (canvas.shares if by_level else canvas.mask[..., 0])

    def _positions(self, positions: Tensor, rows: int) -> Tensor:
        """One row for all where our blocks compute; diffusers' want one for each."""
        return positions if self.fast is not None else positions.expand(rows, -1, -1, -1)

    def _perturbing(self, call: Call) -> AbstractContextManager[list[int]]:
        streams = {"video": call.perturb_video, "audio": call.perturb_audio}
        blocks = self.plan.stg_blocks
        if self.fast is None:
            return perturbed_streams(self.transformer, blocks, **streams)
        return self.fast.perturbing(self.transformer, blocks, **streams)


def _rows(state: Tensor, rows: int) -> Tensor:
    """The same state in each row of a batch."""
    return state if rows == 1 else state.expand(rows, -1, -1)


def _texts(texts: Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    moved = [text.to(device, dtype) for text in texts]
    return moved[0] if len(moved) == 1 else torch.cat(moved)
