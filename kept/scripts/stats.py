import sys, shutil; sys.path.insert(0,"/tmp/trainsrc")
from pathlib import Path
from tiny import latents
t=Path("/tmp/stattmp"); shutil.rmtree(t,ignore_errors=True); t.mkdir()
for p in ("video_vae","audio_vae"): shutil.copytree(f"/tmp/train/{p}",t/p)
(t/"audio_vae/statistics.pt").unlink()
latents.measure(t); shutil.copy(t/"audio_vae/statistics.pt","/tmp/train/audio_vae/statistics.pt"); print("stats done")
