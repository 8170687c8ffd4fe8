"""Checkpoints on disk: what a folder or file holds, and how it becomes diffusers modules."""
