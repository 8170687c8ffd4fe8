"""The steps of a graph. Each is a function of values: it returns new ones and changes none."""
