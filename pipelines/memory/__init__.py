"""What a plan needs of the device's and the host's memory, found by running it without weights.

Nothing is loaded here: `rehearsal` runs the stages on shapes alone, `forecast` adds the weights.
"""
