"""The LTX-2 graphs on diffusers: plan values, schedules, stages and recipes.

Importing this loads nothing heavy.
"""
