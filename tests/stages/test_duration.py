"""The length that a prompt asks for: predicted and snapped as diffusers does."""

import logging
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.ltx2 import LTX2DurationHead

from ltx2.words import MIN_SECONDS, predicted_frames
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.stages.duration import predict_seconds
from pipelines.stages.prompt import encode_texts
from pipelines.values import NonFinite
from tests.stages.writers import write_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Components:
    folder = write_checkpoint(tmp_path_factory.mktemp("2.5"))
    return Components(find(folder, CHECKPOINTS["ltx-2.5"]))


class Says(LTX2DurationHead):
    """A head whose prediction is given."""

    def __init__(self, seconds: float) -> None:
        super().__init__(video_cross_attention_dim=4, audio_cross_attention_dim=4)
        self.seconds = torch.tensor([seconds])

    def forward(self, video_tokens=None, audio_tokens=None):
        return self.seconds


def test_the_head_reads_what_the_transformer_reads(model):
    text = encode_texts(model, ["a red ball rolls"], "dev")[0]
    with torch.inference_mode():
        expected = float(model.part("duration_head")(text.video, text.audio))
    assert predict_seconds(model, "a red ball rolls", "dev") == expected
    assert predict_seconds(model, "something else", "dev") != expected


def test_the_encoding_is_there_for_the_clip(model):
    predict_seconds(model, "read once", "distilled")
    assert model.known_text("distilled", "read once") is not None


def test_a_prediction_that_is_no_length_is_an_error(model):
    broken = Components(model.weights)
    broken.part("duration_head").mlp_out.bias.fill_(float("nan"))
    with pytest.raises(NonFinite, match="duration head predicted nan"):
        predict_seconds(broken, "a red ball", "dev")


@pytest.mark.parametrize("fps", [24, 25, 30, 48, 50, 60])
def test_frames_are_those_of_diffusers(fps, caplog):
    # It tells of every clamp.
    caplog.set_level(logging.ERROR, "diffusers.pipelines.ltx2.duration_head")
    for step in range(0, 2400, 7):
        seconds = float(torch.tensor(step / 100))  # as a head in float32 says it
        theirs = Says(seconds).predict_num_frames(
            torch.zeros(1, 1, 4), frame_rate=fps, temporal_compression_ratio=8
        )
        assert predicted_frames(seconds, fps, 20.0) == theirs, seconds


@pytest.mark.parametrize("longest", [0.2, 0.9, 1.0, 2.5, 7.0, 20.0])
@pytest.mark.parametrize("fps", [24, 25, 30, 48, 50, 60])
def test_frames_are_on_the_grid_and_within_what_can_be_made(fps, longest):
    for step in range(240):
        frames = predicted_frames(step / 10, fps, longest)
        assert frames % 8 == 1
        assert (frames - 1) / fps <= longest + 1e-9
        if longest > MIN_SECONDS + 8 / fps:
            assert frames / fps >= MIN_SECONDS


def test_the_head_is_found_by_its_name_in_the_repository(model):
    row = CHECKPOINTS["ltx-2.5"]
    assert model.weights.path("duration_head") == Path(model.weights.root / row.files.duration_head)
