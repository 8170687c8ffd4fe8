"""How often a worker ended while it made a video: one that ends every worker is given up."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nothing is known of what was made before."""
    column = sa.Column("cut_off", sa.Integer(), nullable=False, server_default="0")
    op.add_column("generations", column)
