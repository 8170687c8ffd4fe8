"""What a clip costs at least: multiplications and additions, counted from architecture and plan.

One multiply-add is two operations. Matrix products, attention and convolutions count, nothing else:
what a perfect implementation could not leave out. The audio VAE and the vocoder are not counted.
"""
