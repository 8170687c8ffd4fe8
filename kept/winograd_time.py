import torch,time,torch.nn.functional as F
torch.set_num_threads(1)
CL3=torch.channels_last_3d; CL=torch.channels_last
def bench(f,n=6):
    f(); f(); t=time.perf_counter()
    for _ in range(n): f()
    return (time.perf_counter()-t)/n*1e3
B4=torch.tensor([[4,0,-5,0,1,0],[0,-4,-4,1,1,0],[0,4,-4,-1,1,0],[0,-2,-1,2,1,0],[0,2,-1,-2,1,0],[0,4,0,-5,0,1.]])
G4=torch.tensor([[1/4,0,0],[-1/6,-1/6,-1/6],[-1/6,1/6,-1/6],[1/24,1/12,1/6],[1/24,-1/12,1/6],[0,0,1]])
A4=torch.tensor([[1,1,1,1,1,0],[0,1,-1,2,-2,0],[0,1,1,4,4,0],[0,1,-1,8,-8,1.]])
B2=torch.tensor([[1,0,-1,0],[0,1,1,0],[0,-1,1,0],[0,1,0,-1.]]); G2=torch.tensor([[1,0,0],[.5,.5,.5],[.5,-.5,.5],[0,0,1]]); A2=torch.tensor([[1,1,1,0],[0,1,-1,-1.]])
def ws(w,G): return [k.contiguous(memory_format=CL) for k in torch.einsum("kt,oithw->koihw",G,w)]
def frames(o): return o[0].permute(1,2,3,0)  # T,H,W,C contiguous
def gemm(o,W,bias,B,A):
    d=frames(o); T=d.shape[0]-2; m_,n_=A.shape[1],A.shape[0]
    H,Wd,C=d.shape[1:]; co=W[0].shape[0]
    y=torch.empty((T,H-2,Wd-2,co))
    mm=torch.empty((m_,H-2,Wd-2,co))
    for s in range(0,T,n_):
        tile=d[s:s+m_]
        if tile.shape[0]<m_: tile=torch.cat([tile]+[d[-1:]]*(m_-tile.shape[0]))
        u=(B@tile.reshape(m_,-1)).view(m_,H,Wd,C)
        for k in range(m_):
            mm[k]=F.conv2d(u[k:k+1].permute(0,3,1,2),W[k])[0].permute(1,2,0)
        r=(A@mm.view(m_,-1)).view(n_,H-2,Wd-2,co)
        k=min(n_,T-s)
        torch.add(r[:k],bias,out=y[s:s+k])
    return y.permute(3,0,1,2)[None]
def elem4(o,W,bias):
    d=frames(o).permute(0,3,1,2); T=d.shape[0]-2; co=W[0].shape[0]
    H,Wd=d.shape[2]-2,d.shape[3]-2
    y=torch.empty((T,co,H,Wd),memory_format=CL)
    for s in range(0,T-3,4):
        d0,d1,d2,d3,d4,d5=(d[s+i:s+i+1] for i in range(6))
        a=torch.sub(d4,d2,alpha=4); b=torch.sub(d3,d1,alpha=4); c=d4-d2; e=(d3-d1).mul_(2)
        m1=F.conv2d(a+b,W[1],bias); m2=F.conv2d(a-b,W[2]); m3=F.conv2d(c+e,W[3]); m4=F.conv2d(c-e,W[4])
        p=m1+m2; m1-=m2; q=m3+m4; m3-=m4
        m0=F.conv2d(torch.add(d4,d0,alpha=4).sub_(d2,alpha=5),W[0]); m0+=p; torch.add(m0,q,out=y[s:s+1])
        torch.add(m1,m3,alpha=2,out=y[s+1:s+2])
        torch.add(p,q,alpha=4,out=y[s+2:s+3])
        m5=F.conv2d(torch.add(d5,d1,alpha=4).sub_(d3,alpha=5),W[5]); m5+=m1; torch.add(m5,m3,alpha=8,out=y[s+3:s+4])
    return y.permute(1,0,2,3)[None]
def pad(x):
    b,c,t,h,w=x.shape
    o=torch.randn((b,c,t+2,h+2,w+2)).contiguous(memory_format=CL3); o[:,:,1:-1,1:-1,1:-1]=x
    return o
for (ci,co,t,h,w) in [(48,384,13,12,20),(48,48,25,24,40),(48,192,25,24,40),(24,24,49,48,80),(24,48,49,48,80)]:
    wt=torch.randn(co,ci,3,3,3).contiguous(memory_format=CL3)/ (27*ci)**.5; b=torch.randn(co)
    o=pad(torch.randn(1,ci,t,h,w)); W4=ws(wt,G4); W2=ws(wt,G2)
    ref=F.conv3d(o,wt,b)
    t4=t//4*4
    er=lambda y,n=t:((ref[:,:,:n]-y[:,:,:n]).abs().max()/ref.std()).item()
    print((ci,co,t,h,w),"conv3d",round(bench(lambda:torch.mkldnn_convolution(o,wt,b,(0,0,0),(1,1,1),(1,1,1),1)),1),"gemm2",round(bench(lambda:gemm(o,W2,b,B2,A2)),1),"gemm4",round(bench(lambda:gemm(o,W4,b,B4,A4)),1),"elem4",round(bench(lambda:elem4(o,W4,b)),1), "err",[f"{v:.1e}" for v in (er(gemm(o,W2,b,B2,A2)),er(gemm(o,W4,b,B4,A4)),er(elem4(o,W4,b),t4))])
