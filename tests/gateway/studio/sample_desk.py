"""A desk of invented data that behaves: credits are held and returned, jobs go by the clock."""

import hashlib
import secrets
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO
from threading import RLock

from PIL import Image, UnidentifiedImageError

from gateway.desk import (
    Account,
    Credits,
    LedgerEntry,
    Page,
    PriceLine,
    Quote,
    Session,
    Upload,
)
from gateway.refusals import (
    Conflict,
    KeyReused,
    NotFound,
    Problem,
    Problems,
    TooLarge,
    Unaffordable,
    Unauthorised,
    Unavailable,
)
from gateway.states import Cancelled, Done, Failed, Generation, Output
from tests.gateway.studio.sample_offer import OFFER
from tests.gateway.studio.sample_timeline import Timeline
from tests.gateway.studio.sample_videos import Clip, jpeg, mp4

KEY = "sample-key"
FIELDS = {
    "prompt": None,
    "negative_prompt": None,
    "model": OFFER.default.model,
    "mode": "fast",
    "image": None,
    "last_image": None,
    "resolution": "720p",
    "aspect_ratio": "auto",
    "duration": 5,
    "fps": 24,
    "seed": None,
    "camera_motion": "none",
    "generate_audio": True,
    "spatial_upscaler": True,
    "temporal_upscaler": False,
    "detailer": False,
    "enhance_prompt": False,
    "num_inference_steps": None,
    "guidance_scale": None,
}


@dataclass
class Job:
    """A row: what was asked, and when."""

    id: str
    number: int
    form: dict
    quote: Quote
    time: Timeline
    seed: int
    favourite: bool = False
    settled: bool = False

    @property
    def clip(self):
        return Clip(
            self.seed % 97,
            self.quote.width,
            self.quote.height,
            self.quote.num_frames,
            self.quote.fps,
            self.form["generate_audio"],
        )


class SampleDesk:
    """See gateway.desk.Desk. `now` is its clock."""

    def __init__(self, now, *, grant=500):
        self.now = now
        self.account = Account(id="acc_sample", name="Sample")
        self.jobs: list[Job] = []
        self.accounts = {KEY: self.account}
        self.keys: dict[str, tuple[dict, str]] = {}
        self.sessions: dict[str, Session] = {}
        self.pictures: dict[str, tuple[bytes, str, int, int]] = {}
        self.entries: list[LedgerEntry] = []
        self.enhancer_up = True
        self.lock = RLock()
        self.enter("grant", grant, 0, None, note="Welcome credits")

    # Money

    def enter(self, kind, amount, held, job, note=None):
        self.entries.append(
            LedgerEntry(
                id=len(self.entries) + 1,
                kind=kind,
                amount=amount,
                held_delta=held,
                generation_id=job.id if job else None,
                price_version=OFFER.price_version if job else None,
                note=note,
                created_at=self.now(),
            )
        )

    def settle(self):
        """Book what has ended since the last look."""
        for job in self.jobs:
            if job.settled or self.now() < job.time.ends:
                continue
            job.settled = True
            if isinstance(self.shown(job).state, Done):
                self.enter("capture", 0, -job.quote.credits, job)
            else:
                self.enter("release", job.quote.credits, -job.quote.credits, job)

    @property
    def available(self):
        return sum(entry.amount for entry in self.entries)

    @property
    def held(self):
        return sum(entry.held_delta for entry in self.entries)

    def credits(self, account, *, cursor=None, limit=20):
        with self.lock:
            self.settle()
            newest = [e for e in reversed(self.entries) if not cursor or e.id < int(cursor)]
            rest = len(newest) > limit
            return Credits(
                available=self.available,
                held=self.held,
                credit_usd=OFFER.credit_usd,
                entries=tuple(newest[:limit]),
                next_cursor=str(newest[limit - 1].id) if rest else None,
            )

    # What it costs

    def offer(self):
        return OFFER

    def estimate(self, account, form):
        with self.lock:
            self.settle()
            problems = self.problems(form)
            if problems:
                return Problems(problems)
            return self.quote({**FIELDS, **form})

    def problems(self, form):
        found = [Problem(field=n, message=f"{n} is not known.") for n in form if n not in FIELDS]
        asked = {**FIELDS, **form}
        mode = OFFER.models[0].mode(asked["mode"])
        size = mode.resolution(asked["resolution"]) if mode else None
        if size is None:
            return [*found, Problem(field="resolution", message="This size is not offered.")]
        lengths = size.fps_durations.get(asked["fps"], ())
        if asked["duration"] not in lengths:
            words = f"{asked['duration']} s is not available for {mode.label} at {size.id}."
            found.append(Problem(field="duration", message=words, allowed=lengths))
        for name in ("negative_prompt", "num_inference_steps", "guidance_scale"):
            if asked[name] is not None and not mode.capabilities.guidance:
                found.append(Problem(field=name, message=f"{mode.label} has no {name}."))
        if asked["camera_motion"] not in ("none", *mode.capabilities.camera_motion):
            found.append(Problem(field="camera_motion", message="Not with this mode."))
        if (
            asked["num_inference_steps"] is not None
            and not 1 <= asked["num_inference_steps"] <= 100
        ):
            found.append(Problem(field="num_inference_steps", message="1 to 100 steps."))
        for name in ("image", "last_image"):
            if asked[name] and asked[name].removeprefix("upload://") not in self.pictures:
                found.append(Problem(field=name, message="This picture is gone. Add it again."))
        return found

    def quote(self, asked):
        size = OFFER.models[0].mode(asked["mode"]).resolution(asked["resolution"])
        shape = asked["aspect_ratio"]
        if shape == "auto":
            shape = self.own_shape(asked["image"], size)
        rate, seconds = size.credits_per_second, asked["duration"]
        base = rate * seconds
        lines = [PriceLine(label=f"{size.id}, {rate} a second × {seconds} s", credits=base)]
        for name, percent in OFFER.surcharges.items():
            if asked[name]:
                lines.append(PriceLine(label=name, credits=-(-base * percent // 100)))
        credits = sum(line.credits for line in lines)
        double = 2 if asked["temporal_upscaler"] else 1
        frames = seconds * asked["fps"] // 8 * 8 * double + 1
        width, height = size.sizes[shape]
        return Quote(
            credits=credits,
            usd=f"{credits / 100:.2f}",
            price_version=OFFER.price_version,
            credits_per_second=rate,
            breakdown=tuple(lines),
            model=asked["model"],
            mode=asked["mode"],
            resolution=size.id,
            aspect_ratio=shape,
            duration=seconds,
            width=width,
            height=height,
            fps=asked["fps"] * double,
            num_frames=frames,
            seconds=round(frames / (asked["fps"] * double), 3),
            available=self.available,
            available_after=self.available - credits,
            notes=(),
        )

    def own_shape(self, uri, size):
        if not uri:
            return "16:9"
        _, _, width, height = self.pictures[uri.removeprefix("upload://")]
        return min(
            size.sizes, key=lambda n: abs(size.sizes[n][0] / size.sizes[n][1] - width / height)
        )

    # Generations

    def create(self, account, form, idempotency_key=None):
        with self.lock:
            form = dict(form)
            known = self.keys.get(idempotency_key) if idempotency_key else None
            if known is not None:
                if known[0] != form:
                    raise KeyReused("this key was used with another form")
                return replace(self.generation(account, known[1]), replayed=True)
            problems = self.problems(form)
            if not form.get("prompt"):
                problems.append(Problem(field="prompt", message="A prompt is needed."))
            if problems:
                raise Problems(problems)
            self.settle()
            quote = self.quote({**FIELDS, **form})
            if not quote.sufficient:
                raise Unaffordable(required=quote.credits, available=quote.available)
            job = self.add(form, self.now(), quote)
            if idempotency_key:
                self.keys[idempotency_key] = (form, job.id)
            return self.shown(job)

    def add(self, form, at, quote=None, seed=None):
        asked = {**FIELDS, **form}
        quote = quote or self.quote(asked)
        free = max([at + timedelta(seconds=0.6), *(job.time.ends for job in self.jobs)])
        number = len(self.jobs) + 1
        job = Job(
            id=f"gen_{hashlib.sha256(f'{number}'.encode()).hexdigest()[:12]}",
            number=number,
            form=asked,
            quote=quote,
            time=Timeline(at, free, asked["prompt"], quote.credits),
            seed=asked["seed"] if asked["seed"] is not None else seed or drawn(number),
        )
        self.jobs.append(job)
        self.enter("hold", -quote.credits, quote.credits, job)
        return job

    def shown(self, job):
        now = self.now()
        ahead = [each for each in self.jobs if each.number < job.number and each.time.ends > now]
        state = job.time.state(now, 1 + sum(each.time.starts > now for each in ahead), None)
        if isinstance(state, Done):
            state = replace(state, output=self.output(job))
        ended = isinstance(state, Done | Failed | Cancelled)
        execution = job.time.ends - job.time.began
        return Generation(
            id=job.id,
            account_id=self.account.id,
            created_at=job.time.created,
            form=job.form,
            credits=job.quote.credits,
            price_version=OFFER.price_version,
            favourite=job.favourite,
            state=state,
            queue_ms=round((job.time.starts - job.time.created).total_seconds() * 1000),
            execution_ms=round(execution.total_seconds() * 1000) if ended else None,
            eta_seconds=None if ended else job.time.eta(now),
            version=int((now - job.time.created).total_seconds() * 10),
        )

    def output(self, job):
        content = mp4(job.clip)
        prompt = job.form["prompt"]
        return Output(
            content_type="video/mp4",
            width=job.quote.width,
            height=job.quote.height,
            fps=float(job.quote.fps),
            num_frames=job.quote.num_frames,
            duration=job.quote.seconds,
            has_audio=job.form["generate_audio"],
            seed=job.seed,
            prompt=richer(prompt) if job.form["enhance_prompt"] else prompt,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            warnings=(),
        )

    def row(self, generation_id):
        found = next((job for job in self.jobs if job.id == generation_id), None)
        if found is None:
            raise NotFound("no such generation")
        return found

    def generation(self, account, generation_id):
        with self.lock:
            return self.shown(self.row(generation_id))

    def generations(self, account, *, cursor=None, limit=24, status=None, favourites=False):
        with self.lock:
            found = [
                each
                for each in (self.shown(job) for job in reversed(self.jobs))
                if (status is None or each.status == status)
                and (each.favourite or not favourites)
                and (not cursor or self.row(each.id).number < int(cursor))
            ]
            last = self.row(found[limit - 1].id).number if len(found) > limit else None
            return Page(items=tuple(found[:limit]), next_cursor=str(last) if last else None)

    def cancel(self, account, generation_id):
        with self.lock:
            job = self.row(generation_id)
            if job.time.cancel_asked is None and self.now() < job.time.ends:
                job.time = replace(job.time, cancel_asked=self.now())
            self.settle()
            return self.shown(job)

    def delete(self, account, generation_id):
        with self.lock:
            job = self.row(generation_id)
            self.settle()
            if not job.settled:
                raise Conflict("Cancel it first, or wait until it has ended.")
            self.jobs.remove(job)

    def favourite(self, account, generation_id, *, on):
        with self.lock:
            self.row(generation_id).favourite = on
            return self.generation(account, generation_id)

    def content(self, generation_id):
        return mp4(self.row(generation_id).clip)

    def thumbnail(self, generation_id):
        return jpeg(self.row(generation_id).clip)

    # Pictures, prompts, sessions

    def upload(self, account, name, content):
        if len(content) > OFFER.max_upload_bytes:
            most = OFFER.max_upload_bytes
            raise TooLarge(f"The picture is larger than {most // 1_000_000} MB.", most=most)
        try:
            picture = Image.open(BytesIO(content))
        except UnidentifiedImageError:
            message = "This is no picture that can be read. Use PNG, JPEG or WEBP."
            raise Problems([Problem(field="file", message=message)]) from None
        upload_id = f"upl_{secrets.token_hex(6)}"
        media_type = f"image/{picture.format.lower()}"
        self.pictures[upload_id] = (content, media_type, *picture.size)
        return Upload(
            id=upload_id,
            uri=f"upload://{upload_id}",
            content_type=media_type,
            width=picture.width,
            height=picture.height,
            bytes=len(content),
            expires_at=self.now() + timedelta(days=1),
        )

    def picture(self, account, upload_id):
        if upload_id not in self.pictures:
            raise NotFound("no such picture")
        content, media_type, *_ = self.pictures[upload_id]
        return content, media_type

    def enhance(self, account, prompt, *, image=None):
        if not self.enhancer_up:
            raise Unavailable("The prompt writer cannot be reached now. Try again in a minute.")
        return richer(prompt)

    def login(self, key):
        if key not in self.accounts:
            raise Unauthorised("unknown key")
        session = Session(
            account=self.accounts[key],
            token=secrets.token_urlsafe(24),
            csrf=secrets.token_urlsafe(24),
            expires_at=self.now() + timedelta(days=30),
        )
        self.sessions[session.token] = session
        return session

    def session(self, token):
        if token not in self.sessions:
            raise Unauthorised("no such session")
        return self.sessions[token]

    def logout(self, token):
        self.sessions.pop(token, None)

    def counts(self):
        """How many entries there are of each kind."""
        self.settle()
        return Counter(entry.kind for entry in self.entries)


def drawn(number):
    """A seed that looks drawn, and is the same for the same number: its clip is painted once."""
    return int(hashlib.sha256(f"seed {number}".encode()).hexdigest()[:8], 16) // 2


def ratio(size):
    return size[0] / size[1]


def richer(prompt):
    return (
        f"{prompt.rstrip('. ')}. The camera holds steady at eye level while soft side light "
        "models every surface. Fine dust drifts through the beam. Small sounds of the place "
        "are close and clear, and the last second settles into stillness."
    )
