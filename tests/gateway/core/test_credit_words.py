"""Credits in sentences."""

import pytest

from gateway.credit_words import come_back, credit_words, were_returned


@pytest.mark.parametrize(
    ("count", "words", "back", "returned"),
    [
        (1, "1 credit", "Your 1 credit comes back", "Your 1 credit was returned."),
        (24, "24 credits", "Your 24 credits come back", "Your 24 credits were returned."),
        (
            1200,
            "1,200 credits",
            "Your 1,200 credits come back",
            "Your 1,200 credits were returned.",
        ),
    ],
)
def test_one_credit_is_one_and_more_are_many(count, words, back, returned):
    assert (credit_words(count), come_back(count), were_returned(count)) == (words, back, returned)
