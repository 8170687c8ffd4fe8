import sys, time, numpy as np, torch
sys.path.insert(0,"/tmp/switch")
import ltx2
from PIL import Image
from tiny.evaluate.studio import asked, EngineStudio
from tiny.evaluate.prompts import told
from tiny import captions, world
from ltx2.settings import Settings
folder, a, b = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kw = dict(x.split("=") for x in sys.argv[4:])
what = kw.pop("what","prompts"); out=kw.pop("out","/tmp/look.png")
opts={}
for k,v in kw.items():
    opts[k]= v if not v.replace('.','').isdigit() else (float(v) if '.' in v else int(v))
    if v in("True","False"): opts[k]= v=="True"
engine = ltx2.Engine.load(folder)
studio = EngineStudio(engine)
rows=[]; count={}
from tiny.measure import scene
for seed in range(a,b):
    f = asked(seed, held=what=="prompts", textured=what!="prompts")
    prompt=f.text; o=dict(opts)
    move=None
    if what=="words":
        move=world.CAMERAS[seed%7]; prompt=(prompt[:-1] if prompt.endswith(".") else prompt)+", "+{"dolly_in":"dolly in","dolly_out":"dolly out","dolly_left":"dolly left","dolly_right":"dolly right","jib_up":"jib up","jib_down":"jib down","static":"static camera"}[move]
    if what in world.CAMERAS: move=what; o["camera_motion"]=what
    t=time.time()
    r=engine.generate(ltx2.Request(prompt=prompt, seed=seed, **o))
    from tiny.evaluate.studio import Made
    m=Made.of(f,r.frames,r.audio,r.audio_sample_rate,fps=r.plan.fps)
    x=told(m,f)
    if move: x["camera"]=m.seen.camera.name==move
    for k,v in x.items(): count.setdefault(k,[]).append(v)
    print(seed,prompt,{k:v for k,v in x.items() if not v}, "read",m.seen.colour.name,m.seen.shape.name,m.seen.motion.name,m.seen.camera.name,{k:round(v,2) for k,v in m.seen.camera.scores.items() if abs(v)>.15} if move else "", round(time.time()-t,1),flush=True)
    fr=r.frames[np.linspace(0,len(r.frames)-1,6).round().astype(int)]
    rows.append(np.concatenate(list(fr),1))
print({k:(sum(v),len(v)) for k,v in count.items()})
im=Image.fromarray(np.concatenate(rows,0)); im.thumbnail((1400,2400)); im.save(out)
