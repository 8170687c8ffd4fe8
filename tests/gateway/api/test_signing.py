"""Our signatures are those of Standard Webhooks, by its own package and its own example."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.webhooks.outgoing import signing

NOW = 1_700_000_000
BODY = b'{"type":"generation.completed"}'


def test_the_specification_s_example_is_signed_as_it_says():
    signed = signing.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_package_of_the_standard_verifies_ours():
    secret, now = signing.new_secret(), int(datetime.now(UTC).timestamp())
    headers = signing.headers([secret], "evt_1", now, BODY)
    assert Webhook(secret).verify(BODY, headers) == {"type": "generation.completed"}
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(BODY, headers)


def test_we_verify_what_the_package_signs():
    secret = signing.new_secret()
    at = datetime.fromtimestamp(NOW, UTC)
    given = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": Webhook(secret).sign("evt_1", at, BODY.decode()),
    }
    signing.verify(secret, given, BODY, now=NOW)
    with pytest.raises(signing.SignatureRefused, match="no signature"):
        signing.verify(secret, given, BODY + b" ", now=NOW)
    with pytest.raises(signing.SignatureRefused, match="no signature"):
        signing.verify(secret, {**given, "webhook-id": "evt_2"}, BODY, now=NOW)


@pytest.mark.parametrize("skew", [-301, 301])
def test_a_webhook_of_another_time_could_be_a_replay(skew):
    secret = signing.new_secret()
    given = signing.headers([secret], "evt_1", NOW, BODY)
    with pytest.raises(signing.SignatureRefused, match="five minutes"):
        signing.verify(secret, given, BODY, now=NOW + skew)


def test_while_a_secret_is_replaced_both_are_right():
    old, new = signing.new_secret(), signing.new_secret()
    given = signing.headers([new, old], "evt_1", NOW, BODY)
    assert given["webhook-signature"].count("v1,") == 2
    for secret in (old, new):
        signing.verify(secret, given, BODY, now=NOW)
    with pytest.raises(signing.SignatureRefused):
        signing.verify(signing.new_secret(), given, BODY, now=NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_webhook_without_a_header_is_refused(missing):
    secret = signing.new_secret()
    given = signing.headers([secret], "evt_1", NOW, BODY)
    del given[missing]
    with pytest.raises(signing.SignatureRefused, match="needed"):
        signing.verify(secret, given, BODY, now=NOW)


@pytest.mark.parametrize(
    "secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_a?", "whsec_aaaa"]
)
def test_what_is_no_secret_says_what_one_is(secret):
    with pytest.raises(signing.SecretRefused, match="24 to 64 bytes"):
        signing.key_of(secret)
