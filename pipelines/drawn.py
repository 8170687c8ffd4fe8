"""Components whose weights are drawn instead of read: the full architecture without any file.

For measurements: kernels do not care what they multiply, but zeros would be faster and NaN wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from pipelines.checkpoints.building import assign, weightless
from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.quantise import Quantisation, quantise
from pipelines.components import Components
from pipelines.memory.outline import ALWAYS_FP32
from pipelines.memory.released import released_module
from pipelines.models import Generation
from pipelines.plan import Adapter, Variant
from pipelines.speed.levers import USUAL, Levers
from pipelines.upstream.prompt_tokens import MAX_TOKENS
from pipelines.upstream.vocoder_clamp import clamp_first_stage

# Every part that a clip may use; the paths name nothing on disk.
PARTS = ("transformer", "connectors", "vae", "audio_vae", "vocoder", "text_encoder", "tokenizer",
         "spatial_upscaler", "temporal_upscaler", "distilled_lora")  # fmt: skip
LORA_RANK = 384  # of the released distilled LoRA
_NO_LORA = "to_gate_logits"  # the released LoRA leaves the gates of heads alone
_TABLE = 0.02  # standard deviation of modulation tables
Build = Callable[[str], nn.Module]


class Drawn(Components):
    """Parts on the device in seconds, the same ones for the same seed.

    `build` gives a component without memory for its parameters. A LoRA is drawn, too, when a plan
    asks for one: into a file in `scratch`, as those that are read lie in files. `nbytes` is what
    the files of such a checkpoint would take.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        device: torch.device,
        dtype: torch.dtype,
        scratch: Path,
        seed: int = 0,
        build: Build | None = None,
        tokens: int = MAX_TOKENS,
        rank: int = LORA_RANK,
        nbytes: int = 0,
        quantise: Mapping[str, Quantisation] = MappingProxyType({}),
        levers: Levers = USUAL,
    ) -> None:
        super().__init__(
            named_weights(generation, nbytes),
            device=device,
            dtype=dtype,
            find_adapter=self._adapter,
            quantise=quantise,
            levers=levers,
        )
        self._build = build or partial(released_module, generation)
        self._tokens = tokens
        self._seed = seed
        self._rank = rank
        self._scratch = scratch

    def _begin(self, name: str) -> Callable[[], Any]:
        component, _, variant = name.partition(":")
        chosen: Variant = "dev" if variant == "dev" else "distilled"
        return partial(self._load, component, chosen, self._home(component))

    def shortened(self, blocks: int) -> nn.Module:
        """A transformer of `blocks` blocks, each as large as any of the whole. It is not kept.

        Raises ValueError where the whole has fewer.
        """
        return self._load("transformer", "distilled", self._home("transformer"), blocks)

    def _load(
        self,
        component: str,
        variant: Variant,
        device: torch.device,
        blocks: int | None = None,
    ) -> Any:  # noqa: ANN401
        if component == "tokenizer":
            return word_tokenizer(self._tokens)
        with weightless():
            module = self._build(component)
        if blocks is not None:
            _shorten(module, blocks)
        dtype = torch.float32 if component in ALWAYS_FP32 else self.dtype
        # Two variants are two models, and no two parts are alike.
        own = PARTS.index(component) * 2 + (variant == "dev")
        draw(module, device=self.device, dtype=dtype, seed=self._seed * 1000 + own)
        if component == "text_encoder":
            module.tie_weights()  # type: ignore[operator] - of transformers' models
        if component == "vocoder":
            clamp_first_stage(module)
        quantise(module, component, self.quantise.get(component, "none"))
        return self._laid_out(component, module.to(device).requires_grad_(False).eval())

    def _adapter(self, adapter: Adapter) -> Path:
        """The file of a LoRA on the linear layers of the blocks, drawn when it is first used."""
        file = self._scratch / f"{adapter.source.replace('/', '-')}.safetensors"
        if not file.exists():
            with weightless():
                module = self._build("transformer")
            save_file(dict(self._factors(module)), file)
        return file

    def _factors(self, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        generator = torch.Generator(self.device).manual_seed(self._seed)
        for path, layer in module.named_modules():
            within = path.startswith("transformer_blocks.") and not path.endswith(_NO_LORA)
            if not isinstance(layer, nn.Linear) or not within:
                continue
            rank = min(self._rank, layer.in_features, layer.out_features)
            for leaf, shape in (
                ("lora_A", (rank, layer.in_features)),
                ("lora_B", (layer.out_features, rank)),
            ):
                drawn = torch.empty(shape, device=self.device, dtype=self.dtype)
                drawn.normal_(0, 0.1 * shape[1] ** -0.5, generator=generator)
                yield f"transformer.{path}.{leaf}.weight", drawn.cpu()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedWeights(Weights):
    """A checkpoint that has every part and no file."""

    told: int  # bytes

    @property
    def nbytes(self) -> int:
        """What its files would take."""
        return self.told


def named_weights(generation: Generation, nbytes: int) -> NamedWeights:
    """The parts of a generation, by name alone."""
    return NamedWeights(
        root=Path("drawn"),
        generation=generation,
        layout="original",
        parts={name: (Path("drawn") / name,) for name in PARTS},
        told=nbytes,
    )


@torch.no_grad()
def draw(module: nn.Module, *, device: torch.device, dtype: torch.dtype, seed: int) -> None:
    """Give a module without memory its weights: such that what goes in comes out about as large.

    Matrices and kernels have a variance of one over what they sum up, norms are one, biases zero,
    tables of modulation small. Buffers keep the values that they were built with.
    """
    generator = torch.Generator(device).manual_seed(seed)
    made: dict[int, Tensor] = {}
    for path, owner in module.named_modules():
        for leaf, parameter in list(owner._parameters.items()):
            if parameter is None:
                continue
            if id(parameter) not in made:
                tensor = torch.empty(parameter.shape, device=device, dtype=dtype)
                made[id(parameter)] = _filled(tensor, f"{path}.{leaf}", generator)
            assign(owner, leaf, made[id(parameter)])
        for leaf, buffer in list(owner._buffers.items()):
            if buffer is not None:
                owner._buffers[leaf] = buffer.to(device)


def _filled(tensor: Tensor, name: str, generator: torch.Generator) -> Tensor:
    if "scale_shift_table" in name:
        return tensor.normal_(0, _TABLE, generator=generator)
    if tensor.ndim >= 2:
        return tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
    return tensor.zero_() if name.endswith("bias") else tensor.fill_(1)


def _shorten(transformer: Any, blocks: int) -> None:  # noqa: ANN401 - diffusers gives it a config
    whole = len(transformer.transformer_blocks)
    if not 1 <= blocks <= whole:
        raise ValueError(f"it has {whole} blocks, so {blocks} cannot be taken of it")
    transformer.transformer_blocks = transformer.transformer_blocks[:blocks]
    transformer.register_to_config(num_layers=blocks)


def word_tokenizer(tokens: int) -> PreTrainedTokenizerFast:
    """A tokenizer of hardly any words: a prompt is padded to the same length as any other."""
    special = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    known = Tokenizer(WordLevel({**special, "a": 4}, unk_token="<unk>"))
    known.pre_tokenizer = Whitespace()  # type: ignore[assignment] - typed without its setter
    return PreTrainedTokenizerFast(
        tokenizer_object=known,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=tokens,
    )
