"""The LTX-2 graphs on diffusers: plan values, schedules, stages and recipes.

Importing this loads nothing heavy.
"""

from pipelines.upstream import torchao_messages

torchao_messages.hold_back()  # before anything can import torchao
