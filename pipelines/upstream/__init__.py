"""Corrections of diffusers 0.42.1, one file each.

Each says what differs, the evidence, and when the file may go.
"""
