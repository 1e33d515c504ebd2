"""What loggers show for a while."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def log_level(name: str, level: int) -> Iterator[None]:
    """Show only messages of a level and above of one logger inside the block.

    Args:
        name: of the logger.
        level: such as `logging.WARNING`.
    """
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
