"""Which checkpoint made a video, by the worker's answer."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what was made before it is not known."""
    op.add_column("generations", sa.Column("checkpoint", sa.String(), nullable=True))
