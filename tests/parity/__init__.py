"""Numbers computed by Lightricks' own implementation, and the tiny checkpoints they belong to."""
