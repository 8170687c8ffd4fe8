"""Wait for what a page comes to; the pages' policy forbids the browser driver's own way."""

import time


def until(page, expression, seconds=20):
    """Whether the expression becomes true in the page."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if page.evaluate(expression):
            return True
        page.wait_for_timeout(50)  # lets the page go on
    return False
