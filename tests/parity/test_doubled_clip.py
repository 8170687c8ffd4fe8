"""LTX-2.5's doubled clip from end to end, on the parity checkpoint: length, sound, variants."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ltx2.extent import PictureFacts
from ltx2.planner import plan
from ltx2.request import Request
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.recipes import RECIPES
from pipelines.stages.prompt import connect
from pipelines.values import Inputs, Text
from tests.parity.cases import load
from tests.parity.test_graphs import TEXT_WIDTH, Silent

FRAMES = 41  # lengthened to 49: two segments of 24
FACTS = PictureFacts(width=64, height=64, sha256="a" * 64)
TASKS = {
    "text": {},
    "image": {"image": "p.png"},
    "first and last": {"image": "p.png", "last_image": "p.png"},
    "keyframe": {"keyframes": [{"image": "p.png", "frame": 24}]},
}


@pytest.fixture(scope="module")
def model(checkpoints) -> Components:
    """The dev model with its upscalers and LoRA; the prompts of every plan are known to it."""
    folder = checkpoints / "2.5"
    weights = replace(find(folder / "ltx-2.5-22b-dev.safetensors"), text_width=TEXT_WIDTH)
    for kind in ("spatial", "temporal"):
        file = folder / f"ltx-2.5-latent-{kind}-upscaler-x2-bf16-1.0.safetensors"
        weights = weights.with_file(f"{kind}_upscaler", file)
    lora = folder / "ltx-2.5-22b-distilled-lora-tiny-16.safetensors"
    return Components(weights, find_adapter=lambda _adapter: lora)


def planned(mode, spatial, task):
    steps = {"num_inference_steps": 2} if mode == "pro" else {}
    request = Request(
        prompt="a", seed=3, width=128, height=64, num_frames=FRAMES, mode=mode,
        temporal_upscaler=True, spatial_upscaler=spatial, **steps, **TASKS[task],
    )  # fmt: skip
    facts = dict.fromkeys(("image", "last_image", "keyframes[0]"), FACTS)
    made = plan(request, checkpoint="ltx-2.5", pictures=facts)

    def of_the_pack(part):
        """The pack's one model, which has three blocks."""
        return part and replace(part, variant="dev", stg_blocks=(1,) if part.stg_blocks else ())

    tiled = made.temporal_round
    return replace(
        made,
        base=of_the_pack(made.base),
        refine=of_the_pack(made.refine),
        temporal_round=replace(tiled, denoise=of_the_pack(tiled.denoise)),
    )


# Every pair of two choices. Twice are made one clip with every draw of noise that there is, of the
# ancestral sampler as well, and one with guidance and pictures.
CASES = [
    ("fast", True, "text", 2),
    ("pro", False, "text", 1),
    ("fast", False, "image", 1),
    ("pro", True, "image", 1),
    ("fast", True, "first and last", 1),
    ("pro", False, "first and last", 2),
    ("fast", False, "keyframe", 1),
    ("pro", True, "keyframe", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "spatial", "task", "times"), CASES)
def test_a_doubled_clip_has_its_length_its_sound_and_the_same_bytes_again(
    model, mode, spatial, task, times
):
    case = load("2.5", "connectors")
    connectors = model.part("connectors:dev")
    video, audio = connect(connectors, case["text_hidden"][:1], case["text_mask"][:1])
    text = Text(video=video, audio=audio, tokens=1, truncated=False)
    made = planned(mode, spatial, task)
    for name, pair in made.texts.items():
        for words in filter(None, pair):
            key = model.text_key("dev", made.passes[name].adapters)
            model.prompts.put(key, words, text)
    picture = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    inputs = Inputs(images=dict.fromkeys(("image", "last_image", "keyframes[0]"), picture))

    def run():
        clip = RECIPES[made.task](model, made, inputs, Silent())
        return np.concatenate(list(clip.frames)), clip.audio, clip.audio_sample_rate

    frames, sound, rate = run()
    assert made.base.frames == 49
    assert frames.shape == (2 * FRAMES - 1, 64, 128, 3)
    assert made.fps == 48
    # As long as the clip at half the rate, not as what it was lengthened to.
    assert sound.shape[1] / rate == pytest.approx(FRAMES / 24, abs=0.04)
    for _ in range(times - 1):
        again, sound_again, _ = run()
        np.testing.assert_array_equal(frames, again)
        np.testing.assert_array_equal(sound, sound_again)
