import sys; sys.path.insert(0,"/tmp/switch")
import numpy as np, math
import ltx2
from ltx2.engine import Engine
from PIL import Image
from tiny.evaluate import steering
from tiny.measure import camera, scene, things
e=Engine.load("/tmp/ex"); rows=[]
a,b=int(sys.argv[1]),int(sys.argv[2])
for mv in sys.argv[3:]:
  ok=0
  for s in range(a,b):
    f=steering.at_rest(s)
    fr=e.generate(ltx2.Request(prompt=f.text,seed=s,camera_motion=mv)).frames
    x=scene.read(fr); r=camera.at_rest(x.camera,x.thing); ok+=r.name==mv
    if r.name!=mv:
        th=x.thing; at=None if th is None else things.clear(th)
        t="none" if at is None else f"x {things.rate(th.x,at):.3f} y {things.rate(th.y,at):.3f} z {things.rate(np.log(th.area)/2,at):.3f}"
        print(mv,s,f.text,"->",r.name,{k:round(v,2) for k,v in x.camera.scores.items() if v>.1},"| thing",t,flush=True)
        rows.append(np.concatenate([fr[i] for i in np.linspace(0,48,5).round().astype(int)],1))
  print(mv,ok,b-a,flush=True)
if rows: Image.fromarray(np.concatenate(rows[:10],0)).save("/tmp/fails.png")
