"""What the tensors of the embedded checkpoint hold: random values, scaled part by part.

Plain fan-in scaling would give a clip of one colour and a constant hum: whatever is the same at
every place adds up from layer to layer, whatever differs averages out.
"""

import numpy as np

from pipelines.tiny.random_tensors import fan_in, spread, uniform
from pipelines.tiny.sizes import ORIGINAL

# Weights of the norms of queries and keys. At 1 a random attention is close to the mean over all
# tokens, so that a prompt would reach every place alike.
FOCUS = 2.5
VELOCITY = 0.5  # size of the transformer's answer; the rest of a latent stays the noise it was
# The time embedding reaches the output directly, the same at every token. It is kept small there
# and restored on its way to the blocks.
TIME = 0.25
OFFSET = 0.03  # biases and modulation tables of the transformer
CONTRAST = 1.8  # of the decoded pixels
CHOICE = 0.5  # size of the language head: at 1 it would write one letter over and over
# Taps of the video decoder's kernels along each axis: at the latents' own grid places stay apart,
# behind the upsamplers they run into each other and paint soft patches.
APART = np.array((0.05, 0.9, 0.05))
BLURRED = np.array((0.25, 0.5, 0.25))
BINOMIAL = np.array((1, 4, 6, 4, 1)) / 16  # taps that the 1.5-fold upscaler smooths with
LOUDNESS = 1.2  # of each step of the vocoder

Shape = tuple[int, ...]


def values(component: str, name: str, shape: Shape, seed: str) -> np.ndarray:
    """float32 of `shape` for the tensor `name` (diffusers' name) of a component."""
    stream = f"{seed}|{component}|{name}"
    if component == "vae" and name.startswith("decoder."):
        value = _decoder(name, shape, stream)
    elif component == "transformer":
        value = _transformer(name, shape, stream)
    elif component == "vocoder":
        value = _vocoder(name, shape, stream)
    elif name == "lm_head.weight":
        value = CHOICE * _plain(name, shape, stream)
    else:
        value = _plain(name, shape, stream)
    return value.astype(np.float32)


def lora(name: str, outputs: int, inputs: int, rank: int, up: float) -> dict[str, np.ndarray]:
    """The pair (rank, inputs) and (outputs, rank) of one layer; `up` scales the second."""
    down = spread(f"{name}|A", (rank, inputs)) / np.sqrt(inputs)
    pair = {"lora_A": down, "lora_B": up * spread(f"{name}|B", (outputs, rank))}
    return {key: value.astype(np.float32) for key, value in pair.items()}


def _plain(name: str, shape: Shape, stream: str) -> np.ndarray:
    """Outputs as large as the inputs are; statistics, norms and offsets around their usual."""
    leaf = name.rpartition(".")[2]
    if leaf == "latents_std":
        return 0.5 + uniform(stream, shape[0])
    if leaf == "kernel":  # the resampler's fixed blur
        return np.outer(BINOMIAL, BINOMIAL).reshape(shape)
    if leaf == "latents_mean":
        return 0.1 * spread(stream, shape)
    if "norm" in name and leaf == "weight":
        return np.ones(shape)
    if leaf == "bias" or "scale_shift_table" in name:
        return 0.1 * spread(stream, shape)
    if "learnable_registers" in name:
        return spread(stream, shape)
    return spread(stream, shape) / np.sqrt(fan_in(shape))


def _transformer(name: str, shape: Shape, stream: str) -> np.ndarray:
    module, _, leaf = name.rpartition(".")
    value = _plain(name, shape, stream)
    if module.endswith(("norm_q", "norm_k")):
        return FOCUS * value
    if leaf == "bias" or "scale_shift_table" in name:
        return OFFSET / 0.1 * value
    scales = {
        "proj_out": VELOCITY,
        "time_embed.emb.timestep_embedder.linear_2": TIME,
        "time_embed.linear": 1 / TIME,
    }
    return scales.get(module.removeprefix("audio_"), 1.0) * value


def _decoder(name: str, shape: Shape, stream: str) -> np.ndarray:
    """Kernels are smooth, and the pixels that one cell is spread over share their weights."""
    last = name.startswith("decoder.conv_out.")
    copies = 16 if last else 8 if ".upsamplers." in name else 1
    rows = shape[0] // copies
    if len(shape) == 1:
        value = np.zeros(rows) if last else _plain(name, (rows,), stream)
    else:
        grid = name.startswith(("decoder.conv_in.", "decoder.mid_block."))
        taps = APART if grid else BLURRED
        mixing = spread(stream, (rows, shape[1])) / np.sqrt(shape[1])
        kernel = taps[:, None, None] * taps[:, None] * taps
        value = (CONTRAST if last else 1.0) * mixing[:, :, None, None, None] * kernel
    return np.repeat(value, copies, axis=0)


def _vocoder(name: str, shape: Shape, stream: str) -> np.ndarray:
    """Without biases, which would hum louder than the sound; transposed convolutions by their own
    fan-in: (inputs, outputs, taps), of which every `rate`-th tap meets an output.
    """
    if name.endswith(".bias"):
        return np.zeros(shape)
    if name.startswith("upsamplers."):
        rate = ORIGINAL["vocoder"]["upsample_rates"][int(name.split(".")[1])]
        return LOUDNESS * spread(stream, shape) / np.sqrt(shape[0] * shape[2] / rate)
    return _plain(name, shape, stream)
