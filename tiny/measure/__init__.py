"""Recognisers: what a clip shows and sounds like, by plain image and sound analysis.

Nothing here is learnt and nothing knows the prompt, so a clip of the trained model and a true clip
of the world are judged alike. Frames are uint8 (n, height, width, 3), sound is float (2, samples).
Lengths are in heights of the frame, x to the right and y down from its middle, as in the world.
"""
