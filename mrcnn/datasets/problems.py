"""One thing that is wrong with a dataset, as `check` lists it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mrcnn.files.names import counted, printable

SEVERITIES = ("error", "warning", "note")
# Lines of one kind, and names in a line, beyond which a list of findings is cut.
_MAX_LINES, _MAX_NAMES = 5, 3


@dataclass(frozen=True)
class Problem:
    """One thing that `check` found.

    Attributes:
        severity: "error" (training would fail or learn something wrong), "warning" (look at
            it) or "note" (worth knowing).
        kind: a fixed word, for programs; see `mrcnn.datasets.report.check_dataset`.
        message: one sentence.
        image_id: number of the image, None when it concerns the dataset.
        reference: the image's path or source id, or the annotation file; "" without one.
    """

    severity: str
    kind: str
    message: str
    image_id: int | None = None
    reference: str = ""

    def __str__(self) -> str:
        place = f"{self.reference}: " if self.reference else ""
        return printable(f"{self.severity}: {place}{self.message} [{self.kind}]")


def count_problems(problems: Sequence[Problem]) -> str:
    """Return "2 errors, 1 note", or "no problem"."""
    counts = Counter(problem.severity for problem in problems)
    return ", ".join(counted(counts[s], s) for s in SEVERITIES if counts[s]) or "no problem"


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Return the lines that list problems: errors first, and what repeats itself in one line.

    Of a kind with many lines the first ones are returned, and the number of the others.
    """
    groups: dict[tuple[str, str, str], list[Problem]] = defaultdict(list)
    for problem in sorted(problems, key=lambda problem: SEVERITIES.index(problem.severity)):
        groups[problem.severity, problem.kind, problem.message].append(problem)
    by_kind: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (severity, kind, message), same in groups.items():
        line = str(same[0])
        if len(same) > 1 and same[0].reference:
            names = [problem.reference for problem in same[:_MAX_NAMES]]
            listed = ", ".join(names) + (", ..." if len(same) > _MAX_NAMES else "")
            line = printable(f"{severity}: {len(same)} images: {message} ({listed}) [{kind}]")
        by_kind[severity, kind].append(line)
    lines = []
    for (severity, kind), found in by_kind.items():
        lines += found[:_MAX_LINES]
        if len(found) > _MAX_LINES:
            lines.append(f"{severity}: {len(found) - _MAX_LINES} more of this kind [{kind}]")
    return lines
