"""What ours is measured against, in the same process and on the same weights.

b0  diffusers' documentation for these checkpoints, as written, but with every weight on the device
b1  the same with all eight guidance arguments off in passes that are not guided: the honest one
b2  b1 with the transformer's blocks compiled
b3  Lightricks' own pipeline, as its own command runs it; its transformer and its decoder by
    themselves are rows of `forward` and `stages`
"""
