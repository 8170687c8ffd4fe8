import sys, time, importlib
sys.path.insert(0, "/tmp/trainsrc")
from pathlib import Path
from tiny.parallel import run
if __name__ == "__main__":
    module, function, n = sys.argv[1:4]
    kw = {}
    for a in sys.argv[4:]:
        k, v = a.split("=", 1)
        kw[k] = int(v) if v.isdigit() else (v == "True" if v in ("True","False") else v)
    t = time.time()
    run(getattr(importlib.import_module("tiny." + module), function), Path("/tmp/train"), int(n), **kw)
    print("PART DONE", module, function, kw, round(time.time() - t), flush=True)
