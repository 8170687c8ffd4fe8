"""How the embedded checkpoint is made: a synthetic world, and the training of every part on it."""
