"""What the embedded checkpoint can do, measured: `python -m tiny.evaluate`.

Clips are made as a user makes them and read by the recognisers of `tiny.measure`. Every measure
stands beside a control that must fail: another prompt's words, weights that were never trained, the
LoRA left off, no picture given, plain interpolation.
"""
