"""The process that a cold start measures: each phase timed from within. Not a scenario itself."""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def main() -> None:
    """Import, find, load, warm up and make a clip; tells the seconds as JSON."""
    asked = json.loads(sys.argv[1])
    phases: dict[str, float] = {}
    last = time.perf_counter()

    def phase(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        phases[name], last = now - last, now

    import ltx2
    from ltx2.delivery.file import ToFile
    from ltx2.engine import Engine
    from ltx2.planner import plan
    from ltx2.session import generate

    phase("import")
    engine = Engine.load(asked["weights"], mode=asked["mode"], device=asked["device"])
    engine.own_process()
    phase("find")
    parts = engine.preload((asked["mode"],))
    phase("weights")
    engine.warm(asked["mode"])
    phase("warm")
    request = ltx2.Request.parse({"prompt": "a red ball", "seed": 1, "mode": asked["mode"]})
    # What the first clip of a shape waits for, once: its memory is foretold by a rehearsal.
    engine.check_fits(plan(request, checkpoint=engine.checkpoint))
    phase("forecast")
    generate(request, engine=engine, deliver=ToFile(Path(asked["target"])))
    phase("first clip")
    loaded = tensor_bytes([engine.components.part(name) for name in engine.components.held
                           if name in parts])  # fmt: skip
    print(json.dumps({"phases": phases, "parts": parts, "bytes": loaded}))


def tensor_bytes(parts: Iterable[Any]) -> int:
    """Bytes of the modules among parts, as they lie in memory; a tensor that is shared counts once.

    Here, where nothing needs to be imported for it.
    """
    tensors = {
        id(each): each.nbytes
        for part in parts
        if hasattr(part, "parameters")
        for each in (*part.parameters(), *part.buffers())
    }
    return sum(tensors.values())


if __name__ == "__main__":
    main()
