"""Wait for what a page comes to; the pages' policy forbids the browser driver's own way."""

import time


def until(page, expression, seconds=20):
    """Wait until the expression is true in the page."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(50)  # lets the page go on
