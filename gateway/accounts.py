"""Accounts, their API keys and the studio's logins. Of every secret only a digest is kept."""

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select, update

from gateway import ledger
from gateway.clock import Clock
from gateway.database import Database
from gateway.desk import Account, Session
from gateway.ids import digest, new_id, new_secret
from gateway.refusals import NotFound, Unauthorised
from gateway.tables import AccountRow, KeyRow, SessionRow

KEY_PREFIX = "ltx2_"
SHOWN = 12  # first characters of a key, by which people know it
SESSION_DAYS = 30
# How often the last use of a key is written down: not with every call.
USED_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key as it is told once and never again."""

    id: str
    key: str


class Accounts:
    """Who may ask."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, name: str) -> Account:
        """A new account without credits."""
        now = self._clock.now()
        account = Account(id=new_id("acc", now), name=name)
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        with self._database.write() as session:
            session.add(AccountRow(id=account.id, name=name, webhook_secret=secret, created_at=now))
        return account

    def find(self, account_id: str) -> Account:
        """An account by its id. Raises NotFound."""
        with self._database.read() as session:
            row = session.get(AccountRow, account_id)
        if row is None:
            raise NotFound(f"there is no account {account_id!r}")
        return _account(row)

    def all(self) -> list[tuple[Account, int, int]]:
        """Every account with its available and its held credits, oldest first."""
        with self._database.read() as session:
            rows = session.scalars(select(AccountRow).order_by(AccountRow.id)).all()
        return [(_account(row), row.available, row.held) for row in rows]

    def grant(self, account_id: str, credits: int, note: str) -> int:
        """Give credits; what is available then."""
        with self._database.write() as session:
            ledger.grant(
                session, account_id=account_id, credits=credits, note=note, now=self._clock.now()
            )
            return ledger.balance(session, account_id)[0]

    def adjust(self, account_id: str, credits: int, note: str) -> int:
        """Correct a balance up or down, never below nothing; what is available then.

        Raises Unaffordable.
        """
        with self._database.write() as session:
            ledger.adjust(
                session, account_id=account_id, credits=credits, note=note, now=self._clock.now()
            )
            return ledger.balance(session, account_id)[0]

    def new_key(self, account_id: str, name: str) -> NewKey:
        """Another API key. Raises NotFound."""
        self.find(account_id)
        now = self._clock.now()
        made = NewKey(id=new_id("key", now), key=new_secret(KEY_PREFIX))
        with self._database.write() as session:
            session.add(
                KeyRow(
                    id=made.id,
                    account_id=account_id,
                    name=name,
                    sha256=digest(made.key),
                    shown=made.key[:SHOWN],
                    created_at=now,
                )
            )
        return made

    def keys(self, account_id: str) -> list[KeyRow]:
        """The keys of an account, oldest first; revoked ones too."""
        with self._database.read() as session:
            query = select(KeyRow).where(KeyRow.account_id == account_id).order_by(KeyRow.id)
            return list(session.scalars(query))

    def revoke(self, key_id: str) -> None:
        """End a key and every login that was made with it. Raises NotFound."""
        with self._database.write() as session:
            row = session.get(KeyRow, key_id)
            if row is None:
                raise NotFound(f"there is no key {key_id!r}")
            row.revoked_at = row.revoked_at or self._clock.now()
            session.execute(delete(SessionRow).where(SessionRow.key_id == key_id))

    def of_key(self, key: str) -> Account:
        """Whose key it is. Raises Unauthorised."""
        return self._of_key(key)[0]

    def login(self, key: str) -> Session:
        """A session for an API key. Raises Unauthorised."""
        account, key_id = self._of_key(key)
        return self._open(account, key_id)

    def session(self, token: str) -> Session:
        """The session of a cookie. Raises Unauthorised where it is over or never was."""
        with self._database.read() as session:
            row = session.get(SessionRow, digest(token))
            account = None if row is None else session.get(AccountRow, row.account_id)
        if row is None or account is None or row.expires_at <= self._clock.now():
            raise Unauthorised("the login is over; log in again")
        return Session(
            account=_account(account), token=token, csrf=row.csrf, expires_at=row.expires_at
        )

    def logout(self, token: str) -> None:
        """End a session; nothing happens where there is none."""
        with self._database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.sha256 == digest(token)))

    def _of_key(self, key: str) -> tuple[Account, str]:
        now = self._clock.now()
        with self._database.read() as session:
            query = (
                select(KeyRow, AccountRow)
                .join(AccountRow, AccountRow.id == KeyRow.account_id)
                .where(KeyRow.sha256 == digest(key))
            )
            found = session.execute(query).one_or_none()
        if found is None or found[0].revoked_at is not None:
            raise Unauthorised("the API key is not known here, or was revoked")
        row, account = found[0], found[1]
        if row.used_at is None or now - row.used_at > USED_EVERY:
            with self._database.write() as session:
                session.execute(update(KeyRow).where(KeyRow.id == row.id).values(used_at=now))
        return _account(account), row.id

    def _open(self, account: Account, key_id: str) -> Session:
        now = self._clock.now()
        opened = Session(
            account=account,
            token=new_secret(),
            csrf=new_secret(),
            expires_at=now + timedelta(days=SESSION_DAYS),
        )
        with self._database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
            session.add(
                SessionRow(
                    sha256=digest(opened.token),
                    account_id=account.id,
                    key_id=key_id,
                    csrf=opened.csrf,
                    created_at=now,
                    expires_at=opened.expires_at,
                )
            )
        return opened


def _account(row: AccountRow) -> Account:
    return Account(id=row.id, name=row.name)
