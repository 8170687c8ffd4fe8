"""restore.py KEPT: parts from safetensors back to /tmp/train/PART/state.pt (averages; no optimiser)."""
import sys, shutil, torch
from pathlib import Path
from safetensors import safe_open
from safetensors.torch import load_file
kept = Path(sys.argv[1]); to = Path("/tmp/train")
for file in sorted(kept.glob("*.safetensors")):
    if file.name.endswith(".statistics.safetensors"):
        part = to / file.name.removesuffix(".statistics.safetensors"); part.mkdir(parents=True, exist_ok=True)
        torch.save(load_file(file), part / "statistics.pt"); continue
    part = to / file.stem; part.mkdir(parents=True, exist_ok=True)
    with safe_open(file, "pt") as f: meta = f.metadata()
    mean = {k: v.float() for k, v in load_file(file).items()}
    torch.save({"weights": mean, "mean": mean, "step": int(meta["step"]), "seconds": float(meta["seconds"]), "optimiser": {"averages": [], "adam": None}}, part / "state.pt")
    shutil.copy(kept / f"{file.stem}.jsonl", part / "log.jsonl")
    print(part, meta)
