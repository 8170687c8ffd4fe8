"""Levers of speed: each gives what the plain way gives, and keeps to its budget."""
