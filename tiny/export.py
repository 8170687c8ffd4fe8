"""The trained parts as files in Lightricks' own layout, bfloat16: `python -m tiny.export NEW`.

That is the embedded checkpoint; `--untrained` writes the same files before any training.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from loras import catalog
from pipelines.checkpoints import keys
from tiny import adapters, records, sizes, upscalers
from tiny.latents import trained
from tiny.modules import module
from tiny.text_encoder import same_words, write_text_encoder
from tiny.transformer import Generator, load_with_lora
from tiny.transformer import load as load_generator

_EXACT = ("latents_mean", "latents_std")  # stored in float32, as in the released files
_PARTS = {"vae": "video_vae", "audio_vae": "audio_vae", "vocoder": "vocoder"}


def export(folder: Path, to: Path) -> None:
    """Write the whole family into the new folder `to`, from the trained parts in `folder`.

    Raises NotTrained where a part is missing, or was trained with another text encoder than the one
    that is written, before anything is.
    """
    records.require(folder)
    _require_same_words(folder / "text_encoder")
    to.mkdir(parents=True)
    parts = {part: trained(folder, name, part) for part, name in _PARTS.items()}
    generator = load_generator(folder)
    distilled = load_with_lora(folder, "distilled")
    _write_models(to, parts, generator, distilled)
    for name in sizes.UPSCALERS:
        _write_upscaler(to, name, upscalers.load(folder, name).upscaler)
    for entry in _entries():
        name = f"camera_{entry.id}" if entry.kind == "camera" else entry.kind
        lora = distilled if name == "distilled" else load_with_lora(folder, name)
        _write_lora(to / entry.file, entry, adapters.tensors(lora.transformer))
    write_text_encoder(to / sizes.TEXT_ENCODER)


def _require_same_words(trained_with: Path) -> None:
    if not trained_with.is_dir():
        raise records.NotTrained(f"{trained_with} is missing, the text encoder of the training")
    with tempfile.TemporaryDirectory() as place:
        written = Path(place) / "text_encoder"
        write_text_encoder(written)
        if not same_words(trained_with, written):
            raise records.NotTrained(
                f"{trained_with} is not what the code writes now: the transformer and all after it "
                "have learnt another one's words; train them anew in another --folder"
            )


def export_untrained(to: Path) -> None:
    """The same files with weights as they are before training: what a measure must tell apart."""
    to.mkdir(parents=True)
    generator = Generator(seed=1)
    for linear in (generator.transformer.proj_out, generator.transformer.audio_proj_out):
        nn.init.xavier_uniform_(linear.weight)
    _write_models(to, {part: module(part, seed=1) for part in _PARTS}, generator, None)
    for name in sizes.UPSCALERS:
        _write_upscaler(to, name, module(name, seed=1))
    loras = {kind: _begun_lora(kind) for kind in sizes.LORA_RANKS}
    for entry in _entries():
        _write_lora(to / entry.file, entry, loras[entry.kind])
    write_text_encoder(to / sizes.TEXT_ENCODER)


def _begun_lora(kind: str) -> dict[str, Tensor]:
    """A LoRA of a kind as it begins: it changes nothing."""
    model = Generator(seed=1)
    everything = kind == "distilled"
    adapters.add(model.transformer, sizes.LORA_RANKS[kind], everything=everything, seed=1)
    return adapters.tensors(model.transformer)


def _entries() -> list[catalog.Entry]:
    return [entry for entry in catalog.entries() if "tiny" in entry.generations]


@torch.no_grad()
def _write_models(
    to: Path, parts: Mapping[str, nn.Module], generator: Generator, lora: Generator | None
) -> None:
    """Both whole models; all but the transformer is the same in both. Without `lora`, the
    distilled model is the dev model.
    """
    shared: dict[str, Tensor] = {}
    for name, part in {**parts, "connectors": generator.connectors}.items():
        shared |= _original(name, part.state_dict())
    dev = generator.transformer.state_dict()
    distilled = dict(dev)
    if lora is not None:
        for layer, added in adapters.products(lora.transformer):
            distilled[f"{layer}.weight"] = dev[f"{layer}.weight"] + added
    for file, weights in ((sizes.FILES.dev, dev), (sizes.FILES.distilled, distilled)):
        tensors = {**_original("transformer", weights), **shared}
        _save(to / str(file), tensors, sizes.ORIGINAL)


def _write_upscaler(to: Path, name: str, upscaler: nn.Module) -> None:
    file = {
        "spatial_upscaler": sizes.FILES.spatial_upscaler,
        "spatial_upscaler_x1.5": sizes.FILES.spatial_upscaler_x1_5,
        "temporal_upscaler": sizes.FILES.temporal_upscaler,
    }[name]
    _save(to / str(file), _original(name, upscaler.state_dict()), sizes.UPSCALERS[name])


def _write_lora(path: Path, entry: catalog.Entry, tensors: Mapping[str, Tensor]) -> None:
    metadata = {}
    if entry.kind == "detailer":
        metadata = {"reference_downscale_factor": str(sizes.DETAILER_DOWNSCALE)}
    save_lora(path, tensors, metadata)


def save_lora(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A LoRA's tensors, named as Lightricks' files name them, in bfloat16."""
    halved = {name: value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}
    _write(path, halved, metadata)


def _original(component: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lightricks' name and stored value of every tensor."""
    return {
        keys.to_original(component, name): value.detach().clone().contiguous()
        if name in _EXACT
        else value.detach().to(torch.bfloat16).contiguous()
        for name, value in state.items()
    }


def _save(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    metadata = {
        "config": json.dumps(config, separators=(",", ":"), sort_keys=True),
        "model_version": sizes.MODEL_VERSION,
    }
    _write(path, tensors, metadata)


def _write(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    save_file(tensors, path, {"format": "pt", **metadata})
    path.chmod(0o644)  # safetensors lets nobody else read it, such as an image's own user


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tiny.export", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("to", type=Path, metavar="NEW", help="a folder that is not there yet")
    parser.add_argument("--folder", type=Path, default=Path("runs/tiny"), help="of the training")
    parser.add_argument("--records", type=Path, help="also keep recipes, logs and curves there")
    parser.add_argument("--untrained", action="store_true", help="weights as before any training")
    given = parser.parse_args(arguments)
    if given.untrained and given.records:
        parser.error("--untrained has no records")
    try:
        if given.untrained:
            export_untrained(given.to)
        else:
            export(given.folder, given.to)
    except (records.NotTrained, FileExistsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if given.records:
        records.keep(given.folder, given.records)
    total = sum(path.stat().st_size for path in given.to.rglob("*"))
    sys.stdout.write(f"{given.to}: {total / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
