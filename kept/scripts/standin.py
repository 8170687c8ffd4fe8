"""standin.py TO : export of whatever is trained; the rest as before training."""
import sys, shutil
from pathlib import Path
import tiny.loop as loop
real = loop.load_average
def lenient(module, part):
    if (Path(part)/loop.STATE).exists(): real(module, part)
    else: print("untrained:", part)
loop.load_average = lenient
import tiny.latents, tiny.upscalers, tiny.transformer, tiny.export, tiny.modules
for m in (tiny.latents, tiny.upscalers, tiny.transformer, tiny.export):
    if hasattr(m, "load_average"): m.load_average = lenient
to = Path(sys.argv[1]); shutil.rmtree(to, ignore_errors=True)
tiny.export.export(Path("/tmp/train"), to)
print(sum(f.stat().st_size for f in to.rglob("*") if f.is_file())/1e6, "MB")
