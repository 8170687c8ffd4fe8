"""Encoded prompts, kept across passes, jobs and seeds."""

from collections import OrderedDict

from pipelines.values import Text


class PromptCache:
    """Encoded prompts by text and connectors, these with the LoRAs that act on them.

    Least recently used out first, bounded in bytes. Holds the connectors' outputs (about 13 MB a
    prompt at full size), not the hidden states of every layer (385 MB).
    """

    def __init__(self, max_bytes: int = 512 * 2**20) -> None:
        self._texts: OrderedDict[tuple[str, str], Text] = OrderedDict()
        self._max_bytes = max_bytes

    def get(self, connectors: str, prompt: str) -> Text | None:
        """The encoded prompt, or None."""
        key = (connectors, prompt)
        if key in self._texts:
            self._texts.move_to_end(key)
        return self._texts.get(key)

    def put(self, connectors: str, prompt: str, text: Text) -> None:
        """Keep `text`, letting go of the oldest others beyond the bound."""
        self._texts[connectors, prompt] = text
        while self.nbytes > self._max_bytes and len(self._texts) > 1:
            self._texts.popitem(last=False)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(text.video.nbytes + text.audio.nbytes for text in self._texts.values())

    def __len__(self) -> int:
        return len(self._texts)
