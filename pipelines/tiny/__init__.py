"""The embedded checkpoint: LTX-2's real classes at toy width.

Importing this loads nothing heavy.
"""
