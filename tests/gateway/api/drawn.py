"""Cases that are drawn at random: how many, from which seed, and how to draw them once more."""

import random

from hypothesis import HealthCheck, Phase, example, given, seed, settings

COUNT, SEED = "--drawn", "--hypothesis-seed"


def draw(request, test, *, usually, first=None, **strategies):
    """Call `test` with drawn values: `usually` so many times, or as often as the option says; where
    `first` is given, with these before.

    Each run draws others; an error says the seed that it was drawn from.
    """
    count = request.config.getoption(COUNT, None) or usually
    given_seed = request.config.getoption(SEED, None)
    number = random.SystemRandom().getrandbits(32) if given_seed is None else int(given_seed)
    if first is not None:
        test = example(**first)(test)
    drawn = settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # what is drawn changes the site: nothing shrinks
        suppress_health_check=list(HealthCheck),
    )(given(**strategies)(test))
    try:
        seed(number)(drawn)()
    except BaseException as error:
        name = request.node.nodeid
        error.add_note(f"drawn once more by: pytest '{name}' {SEED}={number} {COUNT}={count}")
        raise
