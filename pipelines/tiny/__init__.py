"""The embedded checkpoint: LTX-2's real classes at toy width, trained on a synthetic world.

Its files are in `weights/`, in Lightricks' own layout. Importing this loads nothing heavy.
"""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("weights")
