"""What a worker logs, as a machine reads it, and the process's loggers as they were before."""

import io
import json
import logging
from contextlib import contextmanager

from ltx2.settings import Settings
from ltx2.worker.log import configure
from ltx2.worker.settings import WorkerSettings


@contextmanager
def loggers_as_before():
    """Every logger of the process gets back what the block takes from it; those that it makes are
    left as new ones are.
    """
    kept = {each: (each.handlers[:], each.level, each.propagate) for each in _loggers()}
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        for each in _loggers():
            handlers, level, propagate = kept.get(each, ([], logging.NOTSET, True))
            each.handlers[:], each.propagate = handlers, propagate
            each.setLevel(level)


def _loggers():
    named = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in named if isinstance(each, logging.Logger))]


class Written:
    """The log of a worker with these variables, from now on."""

    def __init__(self, variables):
        self.stream = io.StringIO()
        configure(
            WorkerSettings.from_env(variables), Settings.from_env(variables), stream=self.stream
        )

    @property
    def text(self):
        return self.stream.getvalue()

    @property
    def lines(self):
        return [json.loads(line) for line in self.text.splitlines()]
