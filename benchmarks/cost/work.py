"""An amount of arithmetic, apart by the kind of kernel that does it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """Floating point operations; one multiply-add is two."""

    matrix: int = 0
    attention: int = 0
    convolution: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.matrix + self.attention + self.convolution

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.matrix + other.matrix,
            self.attention + other.attention,
            self.convolution + other.convolution,
        )

    def __mul__(self, times: int) -> "Work":
        return Work(self.matrix * times, self.attention * times, self.convolution * times)

    def seconds(self, ceiling: float) -> float:
        """The time it takes at least, at `ceiling` operations a second."""
        return self.total / ceiling


def linear(rows: int, inputs: int, outputs: int) -> Work:
    """A linear layer over that many rows."""
    return Work(matrix=2 * rows * inputs * outputs)


def attention(queries: int, keys: int, width: int) -> Work:
    """Scores and their product with the values, all heads together; no mask saves anything."""
    return Work(attention=4 * queries * keys * width)


def convolution(places: int, inputs: int, outputs: int, kernel: int = 27) -> Work:
    """A convolution that gives so many places; `kernel` values of each channel go into one."""
    return Work(convolution=2 * places * kernel * inputs * outputs)
