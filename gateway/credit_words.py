"""Credits in sentences, the same wherever they are told of."""


def credit_words(count: int) -> str:
    """ "1 credit", "24 credits", "1,200 credits"."""
    return f"{count:,} credit" if count == 1 else f"{count:,} credits"


def come_back(count: int) -> str:
    """ "Your 24 credits come back", to be gone on with."""
    return f"Your {credit_words(count)} {'comes' if count == 1 else 'come'} back"


def were_returned(count: int) -> str:
    """ "Your 24 credits were returned."."""
    return f"Your {credit_words(count)} {'was' if count == 1 else 'were'} returned."
