"""Pictures that people bring: judged by their bytes, turned upright, stripped of what they tell."""

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, literal, select, update

from gateway.api.limits import Seats
from gateway.clock import Clock
from gateway.database import Database
from gateway.desk import Account, Upload
from gateway.forms import UPLOAD
from gateway.ids import is_id, new_id
from gateway.offer import MAX_UPLOAD_BYTES
from gateway.refusals import Limited, NotFound, Problem, Problems, TooLarge, Unavailable
from gateway.stores import PICTURES as FILES
from gateway.stores import Store, StoreFailed
from gateway.tables import GenerationRow, UploadRow
from ltx2.errors import Ltx2Error
from ltx2.extent import PictureFacts
from ltx2.media.picture import decode
from ltx2.request import PICTURES

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT = timedelta(days=7)
LOOKED_FOR = timedelta(days=1)  # before its end: whether a generation names it, which keeps it on
WRITTEN = timedelta(hours=1)  # longer than the store takes for a picture whose row is there already
MAX_PIXELS = 64_000_000
# Pictures that are read at once: a large one takes some hundred megabytes of memory.
READ_AT_ONCE, READ_BY_ONE = 4, 2
MOST_KEPT = 500  # of an account
RETRY_SECONDS = 3600  # before an account that has as many may have room
# Two of these fit into the request of a job, in base64 beside two prompts: 10,000,000 bytes.
MOST_BYTES = 3_500_000
QUALITIES = (92, 85, 75, 60)  # of a JPEG: the best one that fits; the last always does
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


class Uploads:
    """The pictures of accounts. What is kept is what the worker would make of them: upright, sRGB,
    without place and camera, the longer edge at most 1536 pixels. A PNG stays one, without loss,
    where it has at most MOST_BYTES then; all else becomes a JPEG.
    """

    def __init__(self, database: Database, store: Store, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._read = Seats(READ_AT_ONCE, "Many pictures are being read; try again in a moment.")
        self._read_by_one = Seats(
            READ_BY_ONE, f"{READ_BY_ONE} of your pictures are being read, the most at once."
        )

    def add(self, account: Account, name: str, content: bytes) -> Upload:
        """Take a picture. Raises Problems, TooLarge, Limited, Unavailable."""
        if len(content) > MAX_UPLOAD_BYTES:
            raise TooLarge(
                f"the picture has {len(content):,} bytes, at most {MAX_UPLOAD_BYTES:,} are taken",
                most=MAX_UPLOAD_BYTES,
            )
        with self._read_by_one.seat(account.id), self._read.seat("all"):
            normal = _normal(content)
        now = self._clock.now()
        row = UploadRow(
            id=new_id("upl", now),
            account_id=account.id,
            name="".join(each for each in name if each.isprintable())[:200],
            content_type=normal.content_type,
            width=normal.width,
            height=normal.height,
            bytes=len(normal.content),
            sha256=hashlib.sha256(normal.content).hexdigest(),
            created_at=now,
        )
        if (known := self._earlier(row)) is not None:
            row.id = known
        else:
            self._check_room(row)
            # Over before its picture is there: what a crash leaves is seen by nobody, and swept.
            self._write(row, until=now)
        try:
            self._store.put(row.id, FILES[row.content_type], normal.content, row.content_type)
        except StoreFailed as error:
            raise Unavailable("pictures cannot be kept now; try again in a moment") from error
        self._write(row, until=now + KEPT)
        return Upload(
            id=row.id,
            uri=UPLOAD + row.id,
            content_type=row.content_type,
            width=row.width,
            height=row.height,
            bytes=row.bytes,
            expires_at=row.expires_at,
        )

    def _earlier(self, row: UploadRow) -> str | None:
        """The name that the account's same picture has already: who sends a form with it twice
        sends the same form.
        """
        with self._database.read() as session:
            query = select(UploadRow.id).where(
                UploadRow.account_id == row.account_id,
                UploadRow.sha256 == row.sha256,
                UploadRow.expires_at > row.created_at,
            )
            return session.scalars(query.order_by(UploadRow.id).limit(1)).first()

    def _check_room(self, row: UploadRow) -> None:
        """Raises Limited for a picture too many."""
        with self._database.read() as session:
            # What a generation keeps for longer is paid for.
            query = select(func.count()).where(
                UploadRow.account_id == row.account_id,
                UploadRow.expires_at > row.created_at,
                UploadRow.created_at > row.created_at - KEPT,
            )
            count = session.scalar(query) or 0
        if count >= MOST_KEPT:
            raise Limited(
                f"you have sent {count} pictures in the last {KEPT.days} days, the most that "
                "are kept of such a time",
                kind="concurrency",
                retry_after=RETRY_SECONDS,
            )

    def _write(self, row: UploadRow, *, until: datetime) -> None:
        row.expires_at = until
        with self._database.write() as session:
            session.merge(row)

    def facts(self, account: Account, sources: Iterable[object]) -> Mapping[str, PictureFacts]:
        """What is known of the uploads among `sources`, by their address; others are left out."""
        texts = [each for each in sources if isinstance(each, str) and each.startswith(UPLOAD)]
        named = [each for each in map(_name, texts) if is_id("upl", each)]
        if not named:
            return {}
        with self._database.read() as session:
            query = select(UploadRow).where(
                UploadRow.id.in_(named),
                UploadRow.account_id == account.id,
                UploadRow.expires_at > self._clock.now(),
            )
            rows = session.scalars(query).all()
        return {
            UPLOAD + row.id: PictureFacts(width=row.width, height=row.height, sha256=row.sha256)
            for row in rows
        }

    def picture(self, account: Account, upload_id: str) -> tuple[bytes, str]:
        """Its bytes and media type. Raises NotFound, Unavailable."""
        row = None
        if is_id("upl", upload_id):
            with self._database.read() as session:
                row = session.get(UploadRow, upload_id)
        if row is None or row.account_id != account.id:
            raise NotFound(f"there is no upload {upload_id[:64]!r}")
        try:
            content = self._store.get(row.id, FILES[row.content_type])
        except StoreFailed as error:
            raise Unavailable("the picture cannot be read now; try again in a moment") from error
        if content is None:
            raise NotFound(f"there is no upload {upload_id[:64]!r}")
        return content, row.content_type

    def as_data(self, source: str) -> str:
        """An upload as the worker takes it; what is none stays as it is. Raises StoreFailed, and
        NotFound where its bytes are gone.
        """
        if not source.startswith(UPLOAD):
            return source
        with self._database.read() as session:
            row = session.get(UploadRow, _name(source))
        kind = "" if row is None else row.content_type
        content = None if row is None else self._store.get(row.id, FILES[kind])
        if content is None:
            raise NotFound(f"the picture {source} is gone")
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    def keep_named(self) -> None:
        """Those that a generation names stay, so that it can be made again, until it is deleted."""
        now = self._clock.now()
        ending = UploadRow.expires_at <= now + LOOKED_FOR
        with self._database.write() as session:
            for field in PICTURES:
                named = select(GenerationRow.form[field].as_string()).where(
                    GenerationRow.deleted_at.is_(None),
                    GenerationRow.account_id.in_(select(UploadRow.account_id).where(ending)),
                )
                session.execute(
                    update(UploadRow)
                    .where(ending, (literal(UPLOAD) + UploadRow.id).in_(named))
                    .values(expires_at=now + KEPT)
                )

    def sweep(self) -> int:
        """Delete those whose time is over; how many. Raises StoreFailed."""
        with self._database.read() as session:
            over = select(UploadRow.id).where(UploadRow.expires_at <= self._clock.now() - WRITTEN)
            names = session.scalars(over.limit(100)).all()
        for name in names:
            self._store.delete(name)
            with self._database.write() as session:
                session.execute(delete(UploadRow).where(UploadRow.id == name))
        return len(names)


def _name(uri: str) -> str:
    return uri.removeprefix(UPLOAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Normal:
    """A picture as it is kept."""

    content: bytes
    content_type: str
    width: int  # pixels
    height: int


def _normal(content: bytes) -> _Normal:
    """The picture, upright and with nothing but its pixels. Raises Problems."""
    webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if not webp and not content.startswith((_PNG, _JPEG)):
        raise _refused("the file is no PNG, JPEG or WEBP picture")
    try:
        image = decode(content, name="the picture", max_pixels=MAX_PIXELS)
    except Ltx2Error as error:
        raise _refused(str(error)) from error
    image.info.clear()  # or a profile that was applied already would be written, and again applied
    kept, kind = _small_enough(image, png=content.startswith(_PNG))
    return _Normal(content=kept, content_type=kind, width=image.width, height=image.height)


def _small_enough(image: "Image", *, png: bool) -> tuple[bytes, str]:
    """The picture's file with as little loss as MOST_BYTES allow, and its media type."""
    if png and len(lossless := _written(image, "PNG")) <= MOST_BYTES:
        return lossless, "image/png"
    *better, least = QUALITIES
    for quality in better:
        kept = _written(image, "JPEG", quality=quality, subsampling=0)
        if len(kept) <= MOST_BYTES:
            return kept, "image/jpeg"
    return _written(image, "JPEG", quality=least, subsampling=0), "image/jpeg"


def _written(image: "Image", kind: str, **options: int | bool) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def _refused(sentence: str) -> Problems:
    return Problems([Problem(field="image", message=sentence)])
