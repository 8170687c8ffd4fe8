"""Many requests in one run: `ltx2 batch`."""
