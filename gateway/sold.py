"""Whether a video was made by the checkpoint that is sold."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.tables import GenerationRow

# What is told to people whose video another model made.
ANOTHER = "The video was made by another model than the one that was asked for."


def another(made: str, sold: str, *, who: str) -> str:
    """For the operator: what made a video or would, what is sold, and what to do. `who` begins the
    sentence.
    """
    return (
        f"{who} the checkpoint {made}, and LTX2_GATEWAY_CHECKPOINT says {sold}: "
        f"set it to {made}, or have the worker load {sold}"
    )


def last_told(session: Session, sold: str) -> str | None:
    """What is wrong by the newest generation of `sold` that a worker has answered for; None where
    its checkpoint was that, or nothing has been answered.
    """
    query = (
        select(GenerationRow.checkpoint)
        .where(
            GenerationRow.checkpoint.is_not(None), GenerationRow.form["model"].as_string() == sold
        )
        .order_by(GenerationRow.id.desc())
        .limit(1)
    )
    made = session.scalar(query)
    if made in (None, sold):
        return None
    return another(str(made), sold, who="the last video was made by")
