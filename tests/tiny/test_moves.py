"""Camera moves of one's own: read from a line, filmed and heard as they say, and measured."""

import math
import random

import numpy as np
import pytest
import torch

from tiny import captions, sound, world
from tiny.measure.share import made, made_at_rest
from tiny.moves import AXES, MOST_POINTS, PRESETS, Move, MoveError

TIME = torch.linspace(0, 1, 9)


def scene_of(x=0.0, y=0.0, texture="plain"):
    """A small red circle that stands at a place."""
    thing = world.Thing(
        colour="red", shape="circle", size="small", motion="still", x=x, y=y, reach=0.0
    )
    return world.scene(random.Random(1), (thing,), ground="gray", texture=texture)


def middle(frames, index):
    """Where the red thing is in a frame, in heights from its middle."""
    wanted = torch.tensor(world.COLOURS["red"])[:, None, None]
    rows, columns = ((frames[:, index] - wanted).abs().amax(dim=0) < 0.02).nonzero(as_tuple=True)
    height, width = frames.shape[2:]
    return (
        (columns.float().mean().item() + 0.5 - width / 2) / height,
        (rows.float().mean().item() + 0.5) / height - 0.5,
    )


def clip(move, seed, count=49):
    """A textured scene filmed with a move, as frames are kept."""
    found = captions.draw_scene(random.Random(seed), textured=True)
    frames = world.film(found.scene, move, torch.linspace(0, 1, count), 96, 160)
    return (frames.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()


def test_a_line_says_where_the_camera_is_at_each_time():
    move = Move.parse("x:-0.3..0.3 y:.1 zoom:1..2..0.5 roll:0..-30")
    x, y, zoom = move.at(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert x.tolist() == pytest.approx([-0.3, -0.15, 0.0, 0.15, 0.3])
    assert y.tolist() == pytest.approx([0.1] * 5)
    assert zoom.tolist() == pytest.approx([1, math.sqrt(2), 2, 1, 0.5])
    assert move.lean(torch.tensor([0.0, 1.0])).rad2deg().tolist() == pytest.approx([0, -30])


@pytest.mark.parametrize("name", PRESETS)
def test_a_move_with_a_name_is_read_back_from_what_it_says_of_itself(name):
    move = Move.parse(name)
    assert Move.parse(str(move)) == move
    assert str(move) == PRESETS[name]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "nothing changes"),
        ("zoom:1.5", "nothing changes"),
        ("x:0.2..0.2", "nothing changes"),
        ("spin", "'spin' has no axis that is known"),
        ("tilt:0..1", "'tilt:0..1' has no axis that is known"),
        ("x:0..nan", "has a point that is no number"),
        ("x:0..", "has a point that is no number"),
        ("x:0..2", "x 2 is not within -1 to 1"),
        ("zoom:0..1", "zoom 0 is not within 0.5 to 2"),
        ("roll:0..1 roll:0..2", "roll is said twice"),
        (f"x:{'..'.join(['0', '1'] * MOST_POINTS)}", f"more than {MOST_POINTS}"),
    ],
)
def test_what_is_no_move_is_refused_with_what_is_one(text, problem):
    with pytest.raises(MoveError) as refusal:
        Move.parse(text)
    assert problem in str(refusal.value)
    assert all(word in str(refusal.value) for word in (*AXES, *PRESETS))


def test_every_problem_of_a_line_is_named_at_once():
    with pytest.raises(MoveError) as refusal:
        Move.parse("x:0..9 tilt:1 zoom:3..8")
    for problem in ("x 9", "'tilt:1'", "zoom 3, 8"):
        assert problem in str(refusal.value)


def test_what_a_camera_films_turns_against_its_roll():
    """A camera that leans to the right sees a thing on its right go up."""
    frames = world.film(scene_of(x=0.3), Move.parse("roll:0..30"), TIME, 192, 320)
    assert middle(frames, 0) == pytest.approx((0.3, 0.0), abs=0.01)
    turned = (0.3 * math.cos(math.radians(30)), -0.3 * math.sin(math.radians(30)))
    assert middle(frames, -1) == pytest.approx(turned, abs=0.01)


def test_a_move_along_an_axis_is_filmed_as_the_worlds_own():
    own = Move.parse(f"zoom:{1 / math.sqrt(world.ZOOM)}..{math.sqrt(world.ZOOM)}")
    scene = scene_of(x=0.2, y=0.1, texture="dotted")
    ways = (own, world.camera("dolly_in", random.Random(0)))
    first, second = (world.film(scene, way, TIME, 96, 160) for way in ways)
    assert torch.allclose(first, second, atol=1e-4)


def test_places_in_the_picture_and_in_the_world_are_each_others_way_back():
    move = Move.parse("x:-0.3..0.3 y:0..0.2 zoom:0.7..1.4 roll:-40..80")
    u, v = torch.tensor([[[-0.5, 0.3]]]), torch.tensor([[[0.2, -0.4]]])
    back = world.on_screen(move, TIME, *world.in_world(move, TIME, u, v))
    for found, given in zip(back, (u, v), strict=True):
        assert torch.allclose(found, given.expand(9, 1, 2), atol=1e-5)


def test_the_sound_follows_a_thing_that_the_camera_turns():
    """A thing above the middle is seen on the right once the camera leans to the left."""
    scene = scene_of(y=-0.4)
    left, right = sound.waveform(scene, Move.parse("roll:0..-90"), 1.0, 16000, aspect=5 / 3).abs()
    assert left[400:1200].mean() == pytest.approx(right[400:1200].mean().item(), rel=0.1)
    assert right[-1200:-400].mean() > 1.5 * left[-1200:-400].mean()


@pytest.mark.parametrize("name", [*PRESETS, "x:-0.5..0.5", "y:0..0.3..0 roll:0..60"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, -0.4])
def test_the_share_of_a_move_that_a_clip_makes_is_measured(name, share):
    move = Move.parse(name)
    assert made(clip(move.share(share), seed=3), move) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(
    ("filmed", "asked"), [("diagonal", "roll_left"), ("push_and_pull", "diagonal")]
)
def test_a_move_is_not_found_where_another_was_made(filmed, asked):
    for seed in range(4):
        assert made(clip(Move.parse(filmed), seed), Move.parse(asked)) is None


def test_nothing_can_be_told_of_a_plain_ground_or_of_noise():
    move = Move.parse("roll_left")
    plain = world.film(scene_of(), move, torch.linspace(0, 1, 25), 96, 160)
    frames = (plain.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()
    noise = np.random.default_rng(0).integers(0, 256, frames.shape, dtype=np.uint8)
    assert made(frames, move) is None
    assert made(noise, move) is None
    assert made(frames[:1], move) is None


@pytest.mark.parametrize("name", ["diagonal", "push_and_pull", "corkscrew"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, -0.4])
def test_a_thing_at_rest_tells_the_share_where_the_ground_is_plain(name, share):
    move = Move.parse(name)
    filmed = world.film(scene_of(x=0.2), move.share(share), torch.linspace(0, 1, 49), 96, 160)
    frames = (filmed.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()
    assert made(frames, move) is None
    assert made_at_rest(frames, move) == pytest.approx(share, abs=0.1)


def test_a_thing_that_the_move_leaves_in_its_place_or_that_goes_elsewhere_tells_nothing():
    turned = Move.parse("roll_left")
    for move, asked in ((turned, turned), (Move.parse("y:-0.3..0.3"), Move.parse("x:-0.3..0.3"))):
        filmed = world.film(scene_of(), move, torch.linspace(0, 1, 49), 96, 160)
        frames = (filmed.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()
        assert made_at_rest(frames, asked) is None
