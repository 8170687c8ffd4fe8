"""Latents of one process and of several, compared: run by test_parallel.py in each process.

Writes a JSON document: for each case how far the two are apart, as shares of the latents' own
standard deviation.
"""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

import ltx2
from ltx2.engine import Engine
from ltx2.parallel import Team
from ltx2.processes import own_device
from ltx2.settings import Launch, Settings
from pipelines.recipes.finish import upscale
from pipelines.stages.condition import place
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
from pipelines.values import Inputs

SMALL = {"prompt": "a red ball", "seed": 7, "num_frames": 17}
# Tokens of the passes: 18 and 72; with a last picture beside them 24 and 96; 27, which is odd.
CASES = {
    "fast": {"width": 128, "height": 192},
    "pro": {"width": 128, "height": 192, "mode": "pro", "num_inference_steps": 3},
    "image": {"width": 128, "height": 192, "image": "first.png", "image_strength": 0.7},
    "last image": {"width": 128, "height": 192, "last_image": "last.png"},
    "camera": {"width": 128, "height": 192, "camera_motion": "dolly_in"},
    "odd": {"width": 96, "height": 96, "spatial_upscaler": False},
}


def pictures() -> dict[str, Image.Image]:
    """A first and a last picture."""
    return {
        "image": Image.new("RGB", (128, 192), "red"),
        "last_image": Image.linear_gradient("L").convert("RGB").resize((128, 192)),
    }


def latents(model, plan, inputs):
    """What the base pass and the refine pass give."""
    from ltx2.progress import Progress

    noise, progress = torch.Generator().manual_seed(plan.seed), Progress()
    prompts = encode_prompts(model, plan)
    options = {"noise": noise, "progress": progress}
    placed = place(model, plan.base, inputs)
    found = denoise(model, plan.base, prompts["base"], stage="base", placed=placed, **options)
    if plan.refine:
        found = upscale(model, plan.upscalers, found, progress)
        placed = place(model, plan.refine, inputs)
        found = denoise(
            model,
            plan.refine,
            prompts["refine"],
            stage="refine",
            init=found,
            placed=placed,
            **options,
        )
    return found


@contextmanager
def tokens_seen(model, plan, counts):
    """Keep how many video tokens this process computes in each forward pass."""
    layer = model.part(f"transformer:{plan.base.variant}").proj_in
    hook = layer.register_forward_pre_hook(lambda _layer, args: counts.append(args[0].shape[1]))
    try:
        yield
    finally:
        hook.remove()


def main(weights: str, target: str) -> None:
    """Compare every case."""
    launch = Launch.from_env()
    assert own_device("cpu", launch) == "cpu"
    torch.distributed.init_process_group("gloo")
    engine = Engine.load(weights, device="cpu", settings=Settings.from_env({}))
    model, team = engine.components, Team(launch)
    images = pictures()
    for name, image in images.items():
        path = Path(target).with_name(f"{name.removesuffix('_image')}-{launch.rank}.png")
        image.save(path)
    found = {}
    for case, fields in CASES.items():
        given = {
            key: str(Path(target).with_name(f"{key.removesuffix('_image')}-{launch.rank}.png"))
            if key in images
            else value
            for key, value in fields.items()
        }
        plan = ltx2.plan(ltx2.Request(**SMALL, **given))
        inputs = Inputs(images={name: images[name] for name in given if name in images})
        whole, parts = [], []
        with tokens_seen(model, plan, whole):
            alone = latents(model, plan, inputs)
        with team.sharing(engine), tokens_seen(model, plan, parts):
            shared = latents(model, plan, inputs)
        found[case] = {
            part: float((getattr(alone, part) - getattr(shared, part)).abs().max())
            / float(getattr(alone, part).std())
            for part in ("video", "audio")
        }
        found[case]["share"] = max(parts) / max(whole)
    if launch.rank == 0:
        Path(target).write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
