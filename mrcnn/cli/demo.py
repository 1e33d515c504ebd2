"""`mrcnn demo`: run the model on photographs that come with the installed libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mrcnn.cli.options import Weights

# Photographs that installed libraries bring: three persons, a cat, a cup, and a motorcycle. None of
# them was trained on. They are in the public domain or CC0.
SKIMAGE_IMAGES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
MATPLOTLIB_IMAGES = ("grace_hopper.jpg",)
SHEET_FILE = "contact_sheet.jpg"


def demo(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo_output"),
    weights: Weights = "small",
) -> None:
    """Detect objects in photographs that are already on this machine.

    They come with scikit-image and matplotlib, so nothing is downloaded. Writes the same as `mrcnn
    detect`: an annotated JPEG for each image, and detections.json; and all images on one sheet.

    Example: `mrcnn demo --output demo_output`
    """
    from mrcnn.cli.detect import detect
    from mrcnn.cli.terminal import echo
    from mrcnn.files.names import printable

    images, missing = demo_images()
    for name in missing:
        echo(f"not found: {name}")
    if not images:
        raise FileNotFoundError(
            "scikit-image and matplotlib were installed without their sample photographs; run "
            "`mrcnn detect` on an image of your own"
        )
    detect(ctx, [str(path) for path in images], weights=weights, output=output)
    write_sheet(output, images)
    echo(printable(f"All on one sheet  {output / SHEET_FILE}"))


def demo_images() -> tuple[list[Path], list[str]]:
    """Return the sample photographs that are installed, and the names of those that are not."""
    import matplotlib
    import skimage.data

    # Within the package, or where scikit-image keeps what it has downloaded.
    folders = [Path(skimage.data.__file__).parent, Path(skimage.data.data_dir)]
    samples = Path(matplotlib.get_data_path()) / "sample_data"
    places = [(name, [folder / name for folder in folders]) for name in SKIMAGE_IMAGES]
    places += [(name, [samples / name]) for name in MATPLOTLIB_IMAGES]
    found, missing = [], []
    for name, paths in places:
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            missing.append(name)
        else:
            found.append(path)
    return found, missing


def write_sheet(output: Path, images: Sequence[Path]) -> None:
    """Write the annotated images of a folder on one sheet."""
    import cv2

    from mrcnn.drawing.contact_sheet import contact_sheet
    from mrcnn.drawing.rendering import write_image

    drawn = [cv2.imread(str(output / f"{path.stem}.jpg")) for path in images]
    sheet = contact_sheet([image[..., ::-1] for image in drawn if image is not None])
    write_image(output / SHEET_FILE, sheet)
