"""The synthetic world: what is asked for is in the picture, and cameras move as they are called."""

import random

import pytest
import torch

from tiny import world

TIME = torch.linspace(0, 1, 9)


def one(draw: random.Random, **kind) -> world.Scene:
    return world.scene(draw, (world.thing(draw, **kind),), ground="gray", texture="dotted")


def mask(frames: torch.Tensor, colour: str) -> torch.Tensor:
    """Where a colour is, (n, height, width)."""
    wanted = torch.tensor(world.COLOURS[colour])[:, None, None, None]
    return (frames - wanted).abs().amax(dim=0) < 0.02


def middle(covered: torch.Tensor) -> tuple[float, float]:
    """Mean column and row of a mask (height, width), in heights from the middle."""
    rows, columns = covered.nonzero(as_tuple=True)
    height, width = covered.shape
    return (
        (columns.float().mean().item() + 0.5 - width / 2) / height,
        (rows.float().mean().item() + 0.5) / height - 0.5,
    )


@pytest.mark.parametrize("motion", world.MOTIONS)
@pytest.mark.parametrize("size", world.SIZES)
def test_a_thing_stays_in_the_picture(motion, size):
    for seed in range(20):
        draw = random.Random(seed)
        thing = world.thing(draw, motion=motion, size=size)
        x, y, radius = world.path(thing, TIME)
        if motion != "growing":  # which may outgrow it
            assert (x.abs() + radius).max() <= 5 / 6 + 1e-6
            assert (y.abs() + radius).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("motion", "sign_x", "sign_y"),
    [("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1), ("still", 0, 0)],
)
def test_a_thing_moves_where_its_motion_says(motion, sign_x, sign_y):
    draw = random.Random(3)
    scene = one(draw, motion=motion, colour="red", size="small", shape="circle")
    frames = world.film(scene, world.Camera(), TIME, 96, 160)
    begin, end = (middle(mask(frames, "red")[i]) for i in (0, -1))
    moved = (end[0] - begin[0], end[1] - begin[1])
    for value, sign in zip(moved, (sign_x, sign_y), strict=True):
        assert value * sign > 0.3 if sign else abs(value) < 0.02


def test_a_growing_thing_grows_and_a_bouncing_one_comes_back():
    draw = random.Random(4)
    grown = world.film(one(draw, motion="growing", colour="blue"), world.Camera(), TIME, 96, 160)
    assert mask(grown, "blue")[-1].sum() > 3 * mask(grown, "blue")[0].sum()
    bouncing = world.thing(draw, motion="bouncing")
    _, y, _ = world.path(bouncing, TIME)
    assert y[0] == pytest.approx(y[-1].item(), abs=1e-5)
    assert y.min() < y[0] - 0.2


@pytest.mark.parametrize("shape", world.SHAPES)
def test_shapes_look_as_they_are_called(shape):
    draw = random.Random(5)
    scene = one(draw, motion="still", colour="red", size="large", shape=shape)
    covered = mask(world.film(scene, world.Camera(), TIME[:1], 192, 320), "red")[0]
    rows, columns = covered.nonzero(as_tuple=True)
    box = covered[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].float()
    filled = box.mean().item()
    expected = {"circle": 0.785, "square": 1.0, "triangle": 0.5, "ring": 0.6}[shape]
    assert filled == pytest.approx(expected, abs=0.08)
    centre = box[box.shape[0] // 2, box.shape[1] // 2].item()
    assert (centre == 0) == (shape == "ring")


@pytest.mark.parametrize(
    ("move", "x", "y"),
    [
        ("dolly_left", world.PAN, 0),
        ("dolly_right", -world.PAN, 0),
        ("jib_up", 0, world.TILT),
        ("jib_down", 0, -world.TILT),
        ("static", 0, 0),
    ],
)
def test_what_is_filmed_moves_against_the_camera(move, x, y):
    draw = random.Random(6)
    thing = world.Thing(
        colour="red", shape="circle", size="small", motion="still", x=0.0, y=0.0, reach=0.0
    )
    scene = world.scene(draw, (thing,), ground="gray", texture="plain")
    frames = world.film(scene, world.camera(move, draw), TIME, 192, 320)
    begin, end = (middle(mask(frames, "red")[i]) for i in (0, -1))
    assert end[0] - begin[0] == pytest.approx(x, abs=0.01)
    assert end[1] - begin[1] == pytest.approx(y, abs=0.01)


@pytest.mark.parametrize("move", ["dolly_in", "dolly_out"])
def test_a_dolly_changes_the_size_of_everything(move):
    draw = random.Random(7)
    scene = one(draw, motion="still", colour="red", size="small", shape="square")
    frames = world.film(scene, world.camera(move, draw), TIME, 192, 320)
    areas = mask(frames, "red").sum(dim=(1, 2)).float()
    ratio = (areas[-1] / areas[0]).sqrt().item()
    assert ratio == pytest.approx(world.ZOOM if move == "dolly_in" else 1 / world.ZOOM, rel=0.06)


def test_a_hand_held_camera_drifts_a_little_and_never_not_at_all():
    for seed in range(50):
        camera = world.camera(None, random.Random(seed))
        moved = (
            (camera.end[0] - camera.begin[0]) ** 2 + (camera.end[1] - camera.begin[1]) ** 2
        ) ** 0.5
        assert world.DRIFT[0] - 1e-9 <= moved <= world.DRIFT[1] + 1e-9


def test_a_window_is_a_part_of_the_larger_picture():
    draw = random.Random(8)
    scene, camera = one(draw), world.camera("dolly_in", draw)
    whole = world.film(scene, camera, TIME, 192, 320)
    part = world.film(scene, camera, TIME, 96, 160, window=(-80 / 192, 48 / 192, 2.0))
    assert torch.allclose(part, whole[:, :, 96:, :160], atol=1e-4)


def test_both_sizes_of_a_clip_show_the_same():
    draw = random.Random(9)
    scene, camera = one(draw), world.camera(None, draw)
    small, large = (world.film(scene, camera, TIME, h, h * 5 // 3) for h in (96, 192))
    halved = torch.nn.functional.avg_pool2d(large.transpose(0, 1), 2).transpose(0, 1)
    assert (halved - small).abs().mean() < 0.01


def test_the_same_seed_gives_the_same_film():
    first, second = (
        world.film(one(random.Random(1)), world.camera(None, random.Random(2)), TIME, 64, 64)
        for _ in range(2)
    )
    assert torch.equal(first, second)
