"""Prompts to begin with, each with a title: the world's, or those of the embedded checkpoint."""

WORLD: tuple[tuple[str, str], ...] = (
    (
        "Heron at dawn",
        "A grey heron stands in a shallow misty lake at dawn. It bends its knees and lifts off "
        "with slow, heavy wing beats, water dripping from its feet. The camera glides low over "
        "the water and follows it. Warm light breaks through the fog behind a line of reeds. "
        "Wings beat, water drips, a distant loon calls.",
    ),
    (
        "Street-food stall",
        "Night on a narrow rain-wet street. A cook at a small noodle stall tosses vegetables in "
        "a flaming wok, and sparks rise past red paper lanterns. The camera pushes in slowly "
        "from the street to the pan. Steam drifts across the lens. Oil sizzles, rain patters on "
        "the awning, people murmur.",
    ),
    (
        "Paper boat",
        "Macro shot of a small paper boat that drifts down a rain-filled gutter. It turns around "
        "a leaf, catches the current and speeds up. The camera stays low at the water line and "
        "moves alongside. Soft overcast light, ripples spread behind it. Water gurgles.",
    ),
    (
        "Lighthouse storm",
        "A white lighthouse on a black cliff at dusk while a storm comes in. Waves break high "
        "against the rocks, and the beam sweeps through the spray. The camera rises slowly until "
        "the horizon shows. Cold blue light, one warm lamp. Wind howls, surf thunders.",
    ),
)
SHAPES: tuple[tuple[str, str], ...] = (
    ("Red square", "a large red square moving left on a gray checked ground"),
    ("Yellow ring", "a small yellow ring bouncing on a navy striped ground"),
    ("Blue triangle", "a large blue triangle rising on a brown dotted ground"),
    ("Purple circle", "a purple circle growing on a teal checked ground"),
)


def examples(*, embedded: bool) -> tuple[tuple[str, str], ...]:
    """What a model can make: the embedded checkpoint knows nothing but shapes."""
    return SHAPES if embedded else WORLD
