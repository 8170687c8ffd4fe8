"""The templates: escaped always, and a name that is not given is an error."""

from functools import cache
from pathlib import Path

import jinja2

from gateway.studio import wording

FOLDER = Path(__file__).parent / "templates"


@cache
def environment() -> jinja2.Environment:
    """The templates, compiled once a process, with the words of the studio."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "credits": wording.credit_words,
        "moment": wording.moment,
        "amount": wording.amount,
        "signed": wording.signed,
        "entry": lambda entry: wording.ENTRIES[entry],
    }
    return made
