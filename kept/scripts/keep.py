"""keep.py TO: averaged weights of every part in /tmp/train as bfloat16 safetensors, with logs."""
import sys, json, shutil, torch
from pathlib import Path
from safetensors.torch import save_file
to=Path(sys.argv[1]); to.mkdir(parents=True, exist_ok=True)
for part in sorted(Path("/tmp/train").iterdir()):
    st=part/"state.pt"
    if not st.exists(): continue
    s=torch.load(st, weights_only=True, map_location="cpu")
    save_file({k:v.to(torch.bfloat16).contiguous() for k,v in s["mean"].items()}, to/f"{part.name}.safetensors", {"step":str(s["step"]),"seconds":str(s["seconds"])})
    shutil.copy(part/"log.jsonl", to/f"{part.name}.jsonl")
    stats=part/"statistics.pt"
    if stats.exists(): save_file({k:v.contiguous() for k,v in torch.load(stats,weights_only=True).items()}, to/f"{part.name}.statistics.safetensors")
    print(part.name, s["step"], (to/f"{part.name}.safetensors").stat().st_size/1e6)
