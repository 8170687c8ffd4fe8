"""Audio of every shard anew, by the audio VAE as it is now."""
import sys, random, torch
sys.path.insert(0,"/tmp/trainsrc")
from pathlib import Path
from tiny import captions, latents, sound, world
from tiny.latents import KINDS, FPS, AUDIO_RATE, SMALL, normalise_audio, trained, audio_latents
rank,n=int(sys.argv[1]),int(sys.argv[2])
f=Path("/tmp/train"); vae=trained(f,"audio_vae","audio_vae")
paths=sorted((f/"latents").glob("*.pt"))[rank::n]
with torch.no_grad():
    for p in paths:
        kind_name,_,idx=p.stem.rpartition("-"); kind=KINDS[kind_name]
        sh=torch.load(p,weights_only=True); 
        if sh.get("sided"): continue
        d=random.Random(kind.seed*1_000_003+int(idx))
        h,w=kind.small or kind.large or SMALL; audio=[]
        for t in sh["text"]:
            found=captions.draw_scene(d,aspect=w/h,textured=kind.textured); move=d.choice(kind.moves)
            cam=world.camera(move,d) if move is None or isinstance(move,str) else move
            for size in (kind.small,kind.large):
                if size and kind.worn: d.choice(kind.worn)
            assert found.text==t,(p,found.text,t)
            wave=sound.waveform(found.scene,cam,kind.frames/FPS,AUDIO_RATE,aspect=w/h)
            mel=sound.log_mel(wave)[None,:,:4*audio_latents(kind.frames)-3]
            audio.append(normalise_audio(vae,vae.encode(mel,return_dict=False)[0].mean))
        new=torch.cat(audio); assert new.shape==sh["audio"].shape
        sh["audio"]=new; sh["sided"]=True; torch.save(sh,p.with_suffix(".new")); p.with_suffix(".new").rename(p)
        print(p.name,flush=True)
