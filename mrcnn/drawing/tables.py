"""Tables for notebooks and terminals, and a table of the weights of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrcnn.files.names import printable


def display_table(table: Sequence[Sequence[Any]]) -> None:
    """Show rows as an HTML table in a notebook, as aligned text elsewhere.

    Args:
        table: rows of cells; the first row is the heading.
    """
    rows = [[printable(cell) for cell in row] for row in table]
    if _in_notebook():
        import html

        from IPython.display import HTML, display

        cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        display(HTML("<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"))
        return
    columns = max((len(row) for row in rows), default=0)
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(columns)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        print(line.rstrip())


def display_weight_stats(model: Any) -> None:
    """Show shape, minimum, maximum and standard deviation of every trainable weight.

    Suspicious weights are marked: "*** dead?" where all values of a kernel are equal,
    "*** Overflow?" where a value exceeds 1000 in size.

    Args:
        model: a `MaskRCNN`.
    """
    table = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for layer in model.get_trainable_layers():
        for value, weight in zip(layer.get_weights(), layer.weights, strict=True):
            name = weight.name if "/" in weight.name else f"{layer.name}/{weight.name}"
            low, high = float(value.min()), float(value.max())
            # Biases, beta and gamma are equal when a training starts.
            if low == high and "kernel" in name:
                name += "*** dead?"
            if max(abs(low), abs(high)) > 1000:
                name += "*** Overflow?"
            shape = str(tuple(value.shape))
            table.append([name, shape, f"{low:+9.4f}", f"{high:+10.4f}", f"{value.std():+9.4f}"])
    display_table(table)


def _in_notebook() -> bool:
    """Return whether an IPython kernel with rich output runs this code."""
    import sys

    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
