"""The secrets that an account's webhooks are signed with: the newest, and the one before it."""

from sqlalchemy import select, update

from gateway.database import Database
from gateway.desk import Account
from gateway.tables import AccountRow
from gateway.webhooks.outgoing import signing


def in_use(stored: str) -> list[str]:
    """The secrets of a row, the newest first; each of them signs."""
    return stored.split()


class KeptSecrets:
    """The secrets of a database's accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, account: Account) -> list[str]:
        """Those in use, the newest first."""
        with self._database.read() as session:
            return in_use(session.get_one(AccountRow, account.id).webhook_secret)

    def renew(self, account: Account) -> list[str]:
        """Those in use, with a new one; the newest before it goes on signing until the next call,
        so that a receiver can be changed without losing a webhook.
        """
        with self._database.write() as session:
            query = select(AccountRow).where(AccountRow.id == account.id).with_for_update()
            before = in_use(session.scalars(query).one().webhook_secret)
            now = [signing.new_secret(), before[0]]
            session.execute(
                update(AccountRow)
                .where(AccountRow.id == account.id)
                .values(webhook_secret=" ".join(now))
            )
        return now
