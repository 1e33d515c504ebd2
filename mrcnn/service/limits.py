"""Limits of the service, and the refusal of requests that exceed them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class Limits:
    """What the service accepts.

    Attributes:
        max_bytes: largest upload in bytes; larger ones are answered 413.
        max_pixels: largest image in pixels, height x width; larger ones are answered 422 before
            they are decoded.
        max_requests: most uploads that are received, wait or are processed at the same time;
            further ones are answered 429.
        upload_seconds: time for receiving an upload; slower ones are answered 503.
        answer_seconds: time from the end of the upload to the answer; 503 after it.
        batch_size: most images in one call of `detect`.
        batch_wait: seconds that an image waits for others to share the call.

    Raises:
        ValueError: a value is not positive; `batch_wait` may be 0.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_requests: int = 32
    upload_seconds: float = 60.0
    answer_seconds: float = 60.0
    batch_size: int = 4
    batch_wait: float = 0.01

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            lowest = 0 if one.name == "batch_wait" else math.ulp(0)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if one.type == "int" and (not whole or value < 1):
                raise ValueError(f"{one.name} is {value!r}; it must be a whole number from 1")
            if one.type == "float" and not lowest <= value < math.inf:
                rule = "of at least 0" if one.name == "batch_wait" else "above 0"
                raise ValueError(f"{one.name} is {value!r}; it must be a number {rule}")


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        message: the sentence of the answer, "NAME is VALUE; it must ...".
        headers: further headers of the answer.
    """

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Admission:
    """Counts the requests under way and refuses those beyond the limit.

    Args:
        limit: the most requests under way.

    Attributes:
        under_way: number of requests that are under way.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.under_way = 0

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count one request as under way inside the block.

        Raises:
            Refusal: there are too many.
        """
        if self.under_way >= self.limit:
            raise Refusal(
                429,
                f"number of requests is {self.under_way + 1}; it must be at most {self.limit} at "
                "the same time: try again in a few seconds",
                {"Retry-After": "2"},
            )
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
