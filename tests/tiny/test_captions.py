"""Captions say what is in the scene, and the text encoder can tell them apart."""

import random

import pytest
import torch

from tiny import captions, world
from tiny.tokenizer import SPACE, merges, vocabulary
from tiny.words import words


def test_a_caption_names_every_thing_of_its_scene():
    for seed in range(200):
        found = captions.draw_scene(random.Random(seed))
        text = found.text.lower()
        for thing in found.scene.things:
            assert any(
                f"{thing.colour} {thing.shape} {way}" in text
                for way in captions.MOTIONS[thing.motion]
            )
        assert found.scene.silent == any(phrase in text for phrase in captions.SILENCE)
        if " ground" in text:
            assert any(name in text for name in (found.scene.ground, found.scene.texture))


def test_held_out_combinations_are_never_trained_on():
    held = captions.combinations(held=True)
    assert len(held) + len(captions.combinations(held=False)) == 6 * 4 * 7
    assert 20 < len(held) < 60
    # Nothing of the grammar is left out as a whole.
    for place, names in enumerate((world.COLOURS, world.SHAPES, world.MOTIONS)):
        assert {combination[place] for combination in held} == set(names)
    for seed in range(300):
        for thing in captions.draw_scene(random.Random(seed)).scene.things:
            assert not captions.held_out(thing.colour, thing.shape, thing.motion)
        (thing,) = captions.draw_scene(random.Random(seed), held=True).scene.things
        assert captions.held_out(thing.colour, thing.shape, thing.motion)


def test_every_word_of_the_grammar_is_one_token():
    known = vocabulary()
    for word in words():
        assert {SPACE + word, word, word.capitalize(), SPACE + word.capitalize()} <= set(known)
    assert len(set(known.values())) == len(known)
    assert len(merges()) == len(set(merges()))


@pytest.fixture(scope="module")
def encoder(tiny_text_encoder):
    from tiny.transformer import Captions

    return Captions(tiny_text_encoder)


def test_the_tokenizer_splits_a_caption_into_words(encoder):
    text = "A large red circle moving left on a navy striped ground, in silence."
    tokens = [token.removeprefix(SPACE) for token in encoder.tokenizer.tokenize(text)]
    assert tokens == text.replace(",", " ,").replace(".", " .").split()
    assert "".join(encoder.tokenizer.tokenize("Größe")).startswith("Gr<0xC3>")


def test_spellings_of_a_word_mean_the_same(encoder):
    states = [encoder([text])[0][0, -1] for text in ("red", "Red")]
    assert torch.equal(states[0][:, 0], states[1][:, 0])  # the embedding


def test_captions_are_separable_through_the_text_encoder(encoder):
    """A linear reading of the mean hidden state tells colour and shape of unseen captions."""
    draw = random.Random(0)
    found = [captions.draw_scene(draw) for _ in range(400)]
    found = [each for each in found if len(each.scene.things) == 1]
    states, mask = encoder([each.text for each in found])
    features = (states.flatten(2) * mask[..., None]).sum(dim=1)
    features = torch.cat((features, torch.ones(len(found), 1)), dim=1)
    for names, pick in (
        (list(world.COLOURS), lambda thing: thing.colour),
        (list(world.SHAPES), lambda thing: thing.shape),
    ):
        labels = torch.tensor([names.index(pick(each.scene.things[0])) for each in found])
        wanted = torch.nn.functional.one_hot(labels, len(names)).float()
        half = len(found) // 2
        eye = torch.eye(features.shape[1]) * 1.0
        weights = torch.linalg.solve(
            features[:half].T @ features[:half] + eye, features[:half].T @ wanted[:half]
        )
        right = (features[half:] @ weights).argmax(dim=1) == labels[half:]
        assert right.float().mean() > 0.9


def test_a_caption_can_say_what_the_camera_does():
    assert captions.directed("A red ring growing.", "dolly_in") == "A red ring growing, dolly in."
    assert captions.directed("a red ring growing", "static") == "a red ring growing, static camera"
    assert set(captions.CAMERA) == set(world.CAMERAS)
    assert {word for said in captions.CAMERA.values() for word in said.split()} <= set(words())
