"""What the server says no to, with the HTTP status that goes with it."""


class Refusal(Exception):
    """A call that is not carried out. `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def no_such_job(job_id: str) -> Refusal:
    """Unknown, forgotten or expired: the platform does not tell these apart either."""
    return Refusal(404, f"there is no job {job_id!r}; it was never here, or its time is over")
