"""The command that trains: its parts, and what it refuses."""

import pytest

from tiny import own_camera, records, train
from tiny.parallel import processes_of, refusal


def test_the_parts_are_those_with_a_record_and_the_clips_in_an_order_that_can_be_trained():
    names = [name.replace("-", "_") for name in train.parts()]
    assert [name for name in names if name != "latents"] == list(records.recipes())
    assert names.index("audio_vae") < names.index("latents") < names.index("spatial_upscaler")


def test_help_names_every_part_and_says_what_is_left_as_it_is():
    text = " ".join(train.parser().format_help().split()).replace("- ", "-")
    assert all(name in text for name in train.parts())
    assert "one that is trained is left as it is" in text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--device", "cuda", "--processes", "2"], "on cuda only 1 is accepted"),
        (["--device", "cuda:0", "--processes", "2"], "on cuda:0 only 1 is accepted"),
        (["--device", "cpu", "--processes", "0"], "1 or more are accepted"),
    ],
)
def test_processes_that_would_train_elsewhere_are_refused(options, problem, tmp_path, capsys):
    assert problem in (refusal(train.parser().parse_args(["all", *options])) or "")
    with pytest.raises(SystemExit):
        own_camera.main(["roll_left", "--folder", str(tmp_path), *options])
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_has_one_process_and_a_cpu_as_many_as_are_asked_for():
    alone = train.parser().parse_args(["all", "--device", "cuda"])
    shared = train.parser().parse_args(["all", "--device", "cpu", "--processes", "3"])
    assert (processes_of(alone), processes_of(shared)) == (1, 3)
    assert refusal(alone) is refusal(shared) is None
