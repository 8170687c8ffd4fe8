"""The worker's log: JSON lines that name the job and hold nothing secret."""

import base64
import json
import logging
import random
import subprocess
import sys
import threading
import time
import warnings

import pytest

from ltx2.worker.json_lines import MOST_CHARACTERS, log_event
from ltx2.worker.log import job_context
from ltx2.worker.scrub import Scrub, cut
from tests.rules.tree import ROOT
from tests.worker.logged import Written, loggers_as_before

logger = logging.getLogger("ltx2.worker.of_a_test")
SECRETS = {
    "BUCKET_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "BUCKET_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "RUNPOD_API_KEY": "the-key-of-the-account",
    "HF_TOKEN": "token-in-no-known-form",
}
PICTURE = base64.b64encode(random.Random(0).randbytes(3000)).decode()
URL_SAFE = PICTURE.replace("+", "-").replace("/", "_")


@pytest.fixture(autouse=True)
def _loggers():
    with loggers_as_before():
        yield


class Log(Written):
    """What a worker with these settings writes."""

    def __init__(self, **variables):
        super().__init__({**SECRETS, **variables})

    def of(self, message, *values):
        """How a message reads in the log."""
        logger.info(message, *values)
        return self.lines[-1]["message"]


def test_a_line_names_the_job_the_level_and_the_time():
    log = Log()
    with job_context("job-1"):
        logger.info("loaded %d parts", 3)
    logger.warning("idle")
    first, second = log.lines
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "requestId": "job-1",
        "level": "INFO",
        "message": "loaded 3 parts",
        "logger": "ltx2.worker.of_a_test",
    }
    assert (second["requestId"], second["level"]) == (None, "WARNING")


def test_an_event_has_fields_of_its_own():
    log = Log()
    log_event(logger, "base took long", phase="base", seconds=1.5, folder=ROOT, rate=float("nan"))
    (line,) = log.lines
    assert (line["phase"], line["seconds"]) == ("base", 1.5)
    assert (line["folder"], line["rate"]) == (str(ROOT), "nan")


def test_a_stage_of_a_run_is_logged_with_its_phase_and_seconds():
    from ltx2.progress import Progress

    log = Log()
    with Progress().stage("base"):
        time.sleep(0.01)
    (line,) = log.lines
    assert line["phase"] == "base"
    assert line["seconds"] >= 0.01


def test_the_fields_of_an_event_cannot_change_whose_it_is():
    log = Log()
    with job_context("job-1"):
        log_event(logger, "hello", requestId="job-2", level=logging.WARNING)
    assert (log.lines[0]["requestId"], log.lines[0]["level"]) == ("job-1", "WARNING")


def test_jobs_on_two_threads_keep_their_names():
    log = Log()

    def work(name):
        with job_context(name):
            for _ in range(20):
                logger.info("%s", name)

    threads = [threading.Thread(target=work, args=(f"job-{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.lines) == 80
    assert all(line["requestId"] == line["message"] for line in log.lines)


def test_a_traceback_is_one_field_of_one_line_and_is_scrubbed():
    log = Log()
    try:
        raise ValueError(f"no picture in {PICTURE} at https://a.example/x?key=abc")
    except ValueError:
        logger.exception("the job failed")
    (line,) = log.lines
    assert line["message"] == "the job failed"
    assert "test_log.py" in line["traceback"]
    assert "ValueError: no picture in [base64, 4,000 characters]" in line["traceback"]
    assert "key=abc" not in log.text
    assert PICTURE[:64] not in log.text


def test_the_files_of_a_traceback_can_be_read():
    deep = "/opt/" + "a_long_folder_name/" * 6 + "module.py"
    text = f'  File "{deep}", line 12, in run\n'
    assert Scrub()(text) == text


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_setting_is_ever_logged(name):
    log = Log()
    try:
        raise OSError(f"refused: {SECRETS[name]}!")
    except OSError:
        logger.exception("%s", {name: SECRETS[name]}, extra={"fields": {"more": SECRETS[name]}})
    assert SECRETS[name] not in log.text
    assert "refused: [secret]!" in log.text


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("at https://b.example/k.mp4?X-Amz-Signature=5f1d&x=1 now", "b.example/k.mp4", "5f1d"),
        ("at https://b.example/k.mp4#access_token=5f1d now", "now", "5f1d"),
        ("at https://user:5f1d@b.example/k", "b.example/k", "5f1d"),
        ("at s3://u:5f1d@x@b.example/k", "b.example/k", "5f1d"),
        ("Authorization: Bearer abc.5f1d.def", "Authorization", "5f1d"),
        ("{'Authorization': 'Basic dTo1ZjFk'}", "Authorization", "dTo1ZjFk"),
        ("('authorization', 'Bearer 5f1d5f1d')", "authorization", "5f1d5f1d"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIAX/2026/us, SignedHeaders=host, "
            "Signature=5f1d",
            "Authorization",
            "5f1d",
        ),
        ("sent AWS4-HMAC-SHA256 Credential=a/2026, Signature=5f1d", "sent", "5f1d"),
        ("GET /v2/x?token=5f1d HTTP/1.1", "GET /v2/x", "5f1d"),
        ("GET /v2/x?anything=5f1d HTTP/1.1", "GET /v2/x", "5f1d"),
        ("aws_secret_access_key = 5f1d", "aws_secret_access_key", "5f1d"),
        ('{"accessSecret": "5f1d", "bucketName": "b"}', "bucketName", "5f1d"),
        ("api_key=5f1d", "api_key", "5f1d"),
        ("key id AKIAIOSFODNN7EXAMPLF", "key id", "AKIAIOSFODNN7EXAMPLF"),
        ("with hf_abcdefghijABCDEFGHIJ0123456789abcd", "with", "abcdefghij"),
        ("with rpa_ABCDEFGHIJ0123456789ABCDEFGHIJ", "with", "ABCDEFGHIJ"),
        (f"image {PICTURE} end", "end", PICTURE[:64]),
        (f"image {PICTURE[:64]} end", "end", PICTURE[:64]),
        (f"image {URL_SAFE} end", "end", URL_SAFE[-30:]),
        (f"data:image/png;base64,{PICTURE[:30]} end", "end", PICTURE[:30]),
        ("A" * 300, "300", "A" * 64),
        (PICTURE[:76] + "\n" + PICTURE[76:152], "76 characters", PICTURE[76:140]),
    ],
)
def test_what_looks_like_a_key_or_a_picture_is_taken_out(text, kept, gone):
    assert gone in text
    scrubbed = Scrub()(text)
    assert gone not in scrubbed
    assert kept in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "base took 3.20s at 1280x704, 121 frames",
        "sha256 " + "0123456789abcdef" * 4,
        "/runpod-volume/huggingface-cache/hub/models--Lightricks--LTX-2/snapshots/0123456789abcdef",
        "the prompt was cut at 1024 tokens: see docs",
        "is that right? yes",
        "https://huggingface.co/Lightricks/LTX-2",
        "weights of mode fast come from hf_hub_download",
    ],
)
def test_plain_words_stay_as_they_are(text):
    assert Scrub()(text) == text


def test_keys_and_prompts_of_the_running_job_are_not_logged():
    job = {
        "id": "job-1",
        "input": {"prompt": "A Red Kite\nabove the hill", "negative_prompt": "no grey sky"},
        "s3Config": {"accessId": "someone", "accessSecret": "very/secret"},
    }
    told = "%s | %r | someone very/secret"
    for prompts, seen in (("0", False), ("1", True)):
        log = Log(LTX2_LOG_PROMPTS=prompts)
        with job_context("job-1", job):
            logger.info(told, job["input"]["prompt"], job["input"]["negative_prompt"])
            logger.info("got %s", ascii(job["input"]["prompt"]))
        logger.info("A Red Kite of nobody")
        assert "someone" not in log.text
        assert "very/secret" not in log.text
        assert ("above the hill" in log.text) is seen
        assert ("grey" in log.text) is seen
        assert ("[negative_prompt]" in log.text) is not seen
        assert "A Red Kite of nobody" in log.text  # not of this job


def test_a_prompt_that_is_refused_is_not_shown_by_its_refusal():
    from ltx2.errors import BadRequest
    from ltx2.worker.job import read_task

    log = Log()
    job = {"id": "a", "input": {"prompt": "the secret plan of mine " * 1000, "mode": "x"}}
    with job_context("a", job):
        with pytest.raises(BadRequest) as refusal:
            read_task(job)
        logger.warning("%s", refusal.value)
    assert "prompt must be" in log.text
    assert "secret plan" in str(refusal.value)
    assert "secret plan" not in log.text


@pytest.mark.parametrize("job", [{}, {"input": None}, {"input": {"prompt": 3}, "s3Config": "x"}])
def test_a_job_of_any_form_has_a_log(job):
    log = Log()
    with job_context("job-1", job):
        assert log.of("hello") == "hello"


def test_a_long_message_loses_its_middle():
    log = Log()
    text = log.of("begin " + "word and word " * 100_000 + "end")
    assert len(text) < MOST_CHARACTERS + 100
    assert text.startswith("begin")
    assert text.endswith("end")
    assert cut("abcdef", 4) == "ab [2 characters] ef"
    assert cut("abcd", 4) == "abcd"


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a://",
        "?",
        "?a",
        "data:",
        "token",
        "authorization",
        "bearer ",
        "A=",
        '"',
        "@",
        "/",
        "\n",
    ],
)
def test_no_text_takes_long_to_scrub(piece):
    log = Log()
    text = piece * (2_000_000 // len(piece))
    began = time.monotonic()
    log.of("%s", text)
    assert time.monotonic() - began < 5


def test_values_that_do_not_fit_do_not_fail_the_job(capfd):
    log = Log()
    assert "do not fit" in log.of("%d parts", "three")
    assert capfd.readouterr().err == ""


def test_text_that_is_no_unicode_is_logged():
    log = Log()
    assert log.of("a \ud800 b") == "a \ud800 b"
    assert log.text.isascii()


def test_the_level_is_the_settings_and_libraries_only_warn():
    log = Log(LTX2_LOG_LEVEL="debug")
    logger.debug("ours")
    logging.getLogger("a.library").info("chatter")
    logging.getLogger("a.library").warning("careful")
    assert [line["message"] for line in log.lines] == ["ours", "careful"]
    log = Log(LTX2_LOG_LEVEL="error")
    logger.warning("ours")
    assert log.lines == []


def test_warnings_are_lines_too():
    log = Log()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    assert "old way" in log.lines[-1]["message"]


def test_a_library_that_logs_by_itself_is_taken_over(capfd):
    library = logging.getLogger("a.loud.library")
    library.addHandler(logging.StreamHandler())
    library.propagate = False
    log = Log()
    library.warning("loud")
    assert [line["message"] for line in log.lines] == ["loud"]
    assert "loud" not in capfd.readouterr().err


def test_configuring_twice_does_not_say_everything_twice():
    first = Log()
    second = Log()
    logger.info("once")
    assert first.lines == []
    assert len(second.lines) == 1


def test_the_log_goes_to_stderr_alone_after_the_sdk_was_imported():
    code = (
        "import logging, sys\n"
        "import runpod\n"
        "from ltx2.worker.log import configure, job_context\n"
        "from ltx2.worker.settings import WorkerSettings\n"
        "configure(WorkerSettings())\n"
        "configure(WorkerSettings())\n"
        "with job_context('job-1'):\n"
        "    logging.getLogger('ltx2').info('hello')\n"
        "    logging.getLogger('other').info('chatter')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ran.stdout == ""
    (line,) = [json.loads(each) for each in ran.stderr.splitlines()]
    assert (line["requestId"], line["message"]) == ("job-1", "hello")


def test_libraries_that_are_imported_later_are_taken_over_by_configuring_again():
    code = (
        "import logging\n"
        "from ltx2.worker.log import configure\n"
        "from ltx2.worker.settings import WorkerSettings\n"
        "configure(WorkerSettings())\n"
        "from transformers.utils import logging as of_transformers\n"
        "library = of_transformers.get_logger('transformers.models')\n"
        "configure(WorkerSettings())\n"
        "library.warning('careful')\n"
        "library.info('chatter')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    (line,) = [json.loads(each) for each in ran.stderr.splitlines()]
    assert (line["logger"], line["message"]) == ("transformers.models", "careful")
