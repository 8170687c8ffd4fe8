"""Hypothesis strategies from a JSON Schema: values that fit it, and anything at all.

For the keywords that the worker's schemas use. Rules between fields are left out: what breaks them
is as good a case as what does not.
"""

import math

from hypothesis import strategies as st


def fitting(schema, definitions):
    """Values that fit a schema's types and bounds."""
    if "$ref" in schema:
        return fitting(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of([fitting(each, definitions) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return {
        "null": lambda *_: st.none(),
        "boolean": lambda *_: st.booleans(),
        "integer": lambda *_: st.integers(schema.get("minimum"), schema.get("maximum")),
        "number": numbers,
        "string": texts,
        "array": arrays,
        "object": objects,
    }[schema["type"]](schema, definitions)


def numbers(schema, _definitions):
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    found = st.floats(least, schema["maximum"], allow_nan=False)
    if "exclusiveMinimum" in schema:
        found = found.filter(lambda value: value > least)
    whole = st.integers(math.ceil(least), math.floor(schema["maximum"]))
    return found | whole.filter(lambda value: value >= least)


def texts(schema, _definitions):
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", 40), 40)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"]).filter(lambda text: len(text) >= least)
    return st.text(min_size=least, max_size=most)


def arrays(schema, definitions):
    return st.lists(fitting(schema["items"], definitions), max_size=schema["maxItems"])


def objects(schema, definitions):
    """Objects with the fields that are required and some of the others."""
    fields = {name: fitting(part, definitions) for name, part in schema["properties"].items()}
    required = {name: fields[name] for name in schema["required"]}
    others = {name: fields[name] for name in fields if name not in required}
    return some_of(others).flatmap(
        lambda chosen: st.fixed_dictionaries({**required, **{n: others[n] for n in chosen}})
    )


def some_of(fields):
    """A few names: with all of many optional fields hardly a rule between them would hold."""
    return st.sets(st.sampled_from(sorted(fields)), max_size=5)


def anything(*words):
    """JSON of any form, a few given words in it."""
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20)
        | st.sampled_from(words or [""]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=5,
    )
