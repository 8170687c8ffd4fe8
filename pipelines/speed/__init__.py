"""What makes the same numbers sooner: each lever has an off switch and a test against the plain way."""
