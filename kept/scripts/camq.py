import sys; sys.path.insert(0,"/tmp/switch")
from ltx2.engine import Engine
from tiny.evaluate.studio import EngineStudio
from tiny.evaluate import steering
from collections import Counter
import time
e=Engine.load("/tmp/ex"); st=EngineStudio(e); a,b=int(sys.argv[1]),int(sys.argv[2])
for m in sys.argv[3:]:
    t=time.time(); c=Counter(); g=[]
    for s in range(a,b):
        x=st.make(steering.at_rest(s),s,**({} if m=="none" else {"camera_motion":m})); n=steering.move_of(x); c[n]+=1
        if m!="none": g.append(round(x.seen.camera.scores[m],2))
    print(m,dict(c),"ground",g,round(time.time()-t),flush=True)
