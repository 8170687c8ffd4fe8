"""The decoder's layout, the way of frames to the host, and the tail of a clip."""

import threading
from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers.video_processor import VideoProcessor

from ltx2.drawn import drawn_engine
from ltx2.media import encode
from ltx2.planner import plan
from ltx2.request import Request
from ltx2.settings import Settings
from pipelines.speed.transfer import in_pieces, to_host
from pipelines.speed.vae_layout import laid_out, padded, settled
from pipelines.stages.pixels import to_uint8
from pipelines.values import Clip
from tiny.sizes import VIDEO_CHANNELS

CPU = torch.device("cpu")
# Of the decoder's widest stage: at a quarter of the edges, every frame.
LAST_CHANNELS, PATCH = 128, 4
SECONDS = 60.0  # to wait at most for what comes at once


@pytest.mark.parametrize("causal", [False, True], ids=["both ends", "causal"])
def test_a_decoder_gives_the_same_with_its_channels_together(untrained_model, causal):
    model = deepcopy(untrained_model.part("vae"))
    latent = torch.randn(1, VIDEO_CHANNELS, 3, 2, 3)
    options = {"causal": causal, "return_dict": False}
    with torch.inference_mode():
        wanted = model.decode(latent, **options)[0]
        with laid_out(model, "channels_last", CPU):
            found = model.decode(latent, **options)[0]
        again = model.decode(latent, **options)[0]
    limit = 1e-5 * float(wanted.abs().max())
    assert float((found - wanted).abs().max()) <= limit
    assert float((again - wanted).abs().max()) <= limit
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_it_decodes_in_every_type_that_torch_convolves(untrained_model, dtype):
    """oneDNN has no float64 and no float16, and bfloat16 on some CPUs alone."""
    model = deepcopy(untrained_model.part("vae")).to(dtype)
    latent = torch.randn(1, VIDEO_CHANNELS, 2, 2, 2, dtype=dtype)
    with torch.inference_mode():
        wanted = model.decode(latent, return_dict=False)[0]
        with laid_out(model, "channels_last", CPU):
            found = model.decode(latent, return_dict=False)[0]
    limit = 32 * torch.finfo(dtype).eps * float(wanted.abs().max())
    assert found.dtype == dtype
    assert float((found - wanted).abs().max()) <= limit


def test_drawn_weights_lie_as_read_ones_do(tmp_path):
    settings = Settings(vae_layout="channels_last", blocks="stock")
    engine = drawn_engine("tiny", device=CPU, settings=settings, scratch=tmp_path)
    drawn = engine.components
    assert engine.fit._levers == drawn.levers == settings.levers()  # by which memory is foretold
    drawn.load_together(("vae",))
    for _ in range(2):
        weights = [
            module.weight
            for module in drawn.part("vae").decoder.modules()
            if isinstance(module, torch.nn.Conv3d) and min(module.weight.shape[1:]) > 1
        ]
        assert weights
        for weight in weights:
            assert weight.is_contiguous(memory_format=torch.channels_last_3d)
            assert not weight.is_contiguous()
        drawn.drop("vae")  # and when a part loads by itself


def test_padding_keeps_the_layout_and_repeats_the_ends():
    x = torch.randn(1, 3, 4, 5, 6)
    out = padded(x, 2, 1)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(out, torch.cat((x[:, :, :1], x[:, :, :1], x, x[:, :, -1:]), dim=2))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 1), (0, 2)])
def test_padding_mirrors_the_edges(rows, columns):
    x = torch.randn(1, 3, 4, 5, 6)
    out = padded(x, 1, 1, rows, columns)
    wide = torch.nn.functional.pad(x, (columns, columns, rows, rows, 0, 0), mode="reflect")
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(out, torch.cat((wide[:, :, :1], wide, wide[:, :, -1:]), dim=2))


def test_every_device_that_computes_gets_the_layout_by_itself():
    assert settled("auto", CPU) == settled("auto", torch.device("cuda")) == "channels_last"
    assert settled("auto", torch.device("meta")) == "contiguous"
    assert settled("contiguous", CPU) == "contiguous"


def test_bytes_made_on_the_device_are_those_of_the_numpy_way():
    pixels = torch.randn(1, 3, 9, 32, 64).clamp_(-1.2, 1.2)
    array = VideoProcessor(vae_scale_factor=32).postprocess_video(pixels, output_type="np")[0]
    wanted = np.round(array * 255).astype(np.uint8)
    off = np.abs(to_uint8(pixels)[0].numpy().astype(int) - wanted)
    assert off.max() <= 1  # of 255: halves round from sums in another order
    assert (off > 0).mean() < 1e-3


def test_what_comes_to_the_host_is_the_same():
    tensors = torch.arange(6), torch.tensor(True)
    for found, tensor in zip(to_host(*tensors), tensors, strict=True):
        assert torch.equal(found, tensor)


class Device:
    """Copies that arrive no sooner than their mark is waited for, in the order they were asked."""

    def __init__(self):
        self.asked = []
        self.arrived = 0

    def copy(self, buffer, source):
        self.asked.append((buffer, source.clone()))

    def mark(self):
        return Waited(self)


class Waited:
    def __init__(self, device):
        self.device = device

    def record(self):
        self.until = len(self.device.asked)

    def synchronize(self):
        for buffer, source in self.device.asked[self.device.arrived : self.until]:
            buffer.write(source)
        self.device.arrived = max(self.device.arrived, self.until)


class Late(torch.Tensor):
    """A page-locked buffer that a device writes when it comes to it, and not when it is told."""

    @staticmethod
    def on(device, size):
        buffer = torch.full((size,), 255, dtype=torch.uint8).as_subclass(Late)
        buffer.late = device
        return buffer

    def __getitem__(self, part):
        piece = super().__getitem__(part).as_subclass(Late)
        piece.late = self.late
        return piece

    def copy_(self, source, non_blocking=False):
        assert non_blocking
        self.late.copy(self, source)
        return self

    def write(self, source):
        torch.Tensor.copy_(self.as_subclass(torch.Tensor), source)


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_pieces_come_whole_through_two_buffers_that_are_used_again(size):
    device = Device()
    tensors = (
        torch.arange(300, dtype=torch.uint8).reshape(3, 100).t(),
        torch.randn(2, 3),
        torch.tensor(True),
        torch.empty(0),
    )
    found = in_pieces(tensors, (Late.on(device, size), Late.on(device, size)), device.mark)
    for ours, tensor in zip(found, tensors, strict=True):
        assert torch.equal(ours, tensor)
        assert ours.dtype == tensor.dtype
    assert (
        device.arrived
        == len(device.asked)
        == sum(-(-tensor.nbytes // size) or 1 for tensor in tensors)
    )


@pytest.mark.parametrize("seconds", [1, 5, 10, 20])
def test_no_tile_reaches_the_limit_of_32_bits(seconds):
    """Kernels that count elements in 32 bits go wrong above 2**31."""
    for width, height in ((1280, 704), (1920, 1088), (704, 1280), (1536, 1536)):
        found = plan(
            Request(prompt="x", seed=1, width=width, height=height, num_frames=24 * seconds + 1),
            checkpoint="ltx-2.3",
        ).decode
        frames = min(found.tile_frames, 24 * seconds + 1)
        edges = min(found.tile_width, width) * min(found.tile_height, height) // PATCH**2
        assert frames * edges * LAST_CHANNELS < 2**31


def test_the_next_chunk_is_asked_for_while_one_is_being_written(tmp_path, monkeypatch):
    """The encoder takes no byte of a chunk until the one behind it is asked for: written one after
    the other, the second would never be.
    """
    chunks = 3
    asked = [threading.Event() for _ in range(chunks + 1)]
    written = []
    write = encode._write

    def held(pipe, chunk):
        number = len(written)
        assert asked[number + 1].wait(SECONDS), f"chunk {number + 1} was not asked for meanwhile"
        written.append(number)
        return write(pipe, chunk)

    monkeypatch.setattr(encode, "_write", held)

    def frames():
        for number in range(chunks):
            asked[number].set()
            yield np.full((8, 256, 256, 3), 80 * number, np.uint8)
        asked[chunks].set()

    clip = Clip(
        frames=frames(), chunks=chunks, width=256, height=256, num_frames=8 * chunks, fps=24
    )
    assert encode.write_mp4(clip, tmp_path / "clip.mp4").num_frames == 8 * chunks
    assert written == list(range(chunks))
