"""What people are told before they write: by what the model can make, the world or shapes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """Words around the form for one kind of model."""

    note: str  # what to know before anything is asked for; "" where there is nothing
    placeholder: str
    hint: str  # what a prompt should say
    examples: tuple[tuple[str, str], ...]  # a title and the prompt
    tips: tuple[tuple[str, str], ...]  # a title and a sentence
    sound: str  # what the switch of this name adds
    enrich: str
    enriched: str  # what to know of a prompt that was enriched; "" where there is nothing
    waiting: tuple[str, str]  # what a job waits for that a worker has, and how long


WORLD = Guide(
    note="",
    placeholder="A grey heron lifts off a misty lake at dawn. "
    "The camera glides in low over the water…",
    hint="One paragraph in the present tense: what happens, light, camera, sound.",
    examples=(
        (
            "Heron at dawn",
            "A grey heron stands in a shallow misty lake at dawn. It bends its knees and lifts off "
            "with slow, heavy wing beats, water dripping from its feet. The camera glides low over "
            "the water and follows it. Warm light breaks through the fog behind a line of reeds. "
            "Wings beat, water drips, a distant loon calls.",
        ),
        (
            "Street-food stall",
            "Night on a narrow rain-wet street. A cook at a small noodle stall tosses vegetables "
            "in a flaming wok, and sparks rise past red paper lanterns. The camera pushes in "
            "slowly from the street to the pan. Steam drifts across the lens. Oil sizzles, rain "
            "patters on the awning, people murmur.",
        ),
        (
            "Paper boat",
            "Macro shot of a small paper boat that drifts down a rain-filled gutter. It turns "
            "around a leaf, catches the current and speeds up. The camera stays low at the water "
            "line and moves alongside. Soft overcast light, ripples spread behind it. Water "
            "gurgles.",
        ),
        (
            "Lighthouse storm",
            "A white lighthouse on a black cliff at dusk while a storm comes in. Waves break high "
            "against the rocks, and the beam sweeps through the spray. The camera rises slowly "
            "until the horizon shows. Cold blue light, one warm lamp. Wind howls, surf thunders.",
        ),
    ),
    tips=(
        ("Say what moves", "One subject, one thing it does, told in the present tense."),
        ("Say how it is seen", "Light, lens, distance, and where the camera goes."),
        ("Say what is heard", "Voices, places, weather: the sound is made with the picture."),
    ),
    sound="Speech, ambience and effects that fit the picture.",
    enrich="A language model rewrites it just before generating.",
    enriched="",
    waiting=("Waiting for a GPU", "A cold start can take a few minutes."),
)
_SENSELESS = "The toy's language model is untrained: it writes words without sense."
SHAPES = Guide(
    note="This model is a toy: it makes coloured shapes that move over patterned grounds, "
    "whatever else you ask for.",
    placeholder="a large red square moving left on a gray checked ground",
    hint="One or two shapes: size, colour, shape, motion and ground.",
    examples=(
        ("Red square", "a large red square moving left on a gray checked ground"),
        ("Yellow ring", "a small yellow ring bouncing on a navy striped ground"),
        ("Blue triangle", "a large blue triangle rising on a brown dotted ground"),
        ("Purple circle", "a purple circle growing on a teal checked ground"),
    ),
    tips=(
        (
            "Name a shape",
            "Small or large; red, yellow, green, blue, purple or white; a circle, square, "
            "triangle or ring.",
        ),
        (
            "Say how it moves",
            "Moving left, right, up or down, standing still, bouncing or growing.",
        ),
        (
            "Say where it is",
            "On a gray, navy, brown, teal or black ground: plain, striped, checked or dotted.",
        ),
    ),
    sound="Shapes hum: the colour is the pitch, the place is the side.",
    enrich=_SENSELESS,
    enriched=_SENSELESS,
    waiting=("Waiting for the worker", "It makes one video at a time."),
)


def guide(*, embedded: bool) -> Guide:
    """What a model can make: the embedded checkpoint knows nothing but shapes."""
    return SHAPES if embedded else WORLD
