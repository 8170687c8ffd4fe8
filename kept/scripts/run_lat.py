import sys, time
sys.path.insert(0, "/tmp/trainsrc")
from pathlib import Path
from tiny import latents
if __name__ == "__main__":
    n = int(sys.argv[1])
    latents.make(Path("/tmp/train"), {k: int(v) for k, v in (a.split("=") for a in sys.argv[2:])}, processes=n)
