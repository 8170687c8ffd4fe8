import sys; sys.path.insert(0,"/tmp/switch")
from ltx2.engine import Engine
from tiny.evaluate import videos, steering, sounds, prompts
from tiny.evaluate.studio import EngineStudio
from tiny.evaluate.measures import line
import time
e=Engine.load(sys.argv[1],mode="all"); st=EngineStudio(e)
for g in sys.argv[2:]:
    n,k=g.split("="); k=int(k); t=time.time()
    f={"temporal":videos.temporal,"spatial":videos.spatial,"detailer":videos.detailer,"pictures":steering.pictures,"cameras":steering.cameras,"seeds":prompts.seeds}[n]
    for m in f(st,k): print(line(m),flush=True)
    print(n,round(time.time()-t),flush=True)
