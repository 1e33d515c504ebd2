"""`mrcnn demo`: run the model on photographs that come with the installed libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrcnn.cli.options import Weights

# A motorcycle in a garage, from two places: a class of the small model, in images it never saw.
SKIMAGE_IMAGES = ("motorcycle_left.png", "motorcycle_right.png")


def demo(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo_output"),
    weights: Weights = "small",
) -> None:
    """Detect objects in photographs that are already on this machine.

    They come with scikit-image, so nothing is downloaded. Writes the same as `mrcnn detect`: an
    annotated JPEG for each image, and detections.json.

    Example: `mrcnn demo --output demo_output`
    """
    from mrcnn.cli.detect import detect
    from mrcnn.cli.terminal import echo

    images, missing = demo_images()
    for name in missing:
        echo(f"not found: {name} of scikit-image")
    if not images:
        raise FileNotFoundError(
            "scikit-image was installed without its sample photographs; run `mrcnn detect` on an "
            "image of your own"
        )
    detect(ctx, [str(path) for path in images], weights=weights, output=output)


def demo_images() -> tuple[list[Path], list[str]]:
    """Return the sample photographs that are installed, and the names of those that are not."""
    import skimage.data

    # Within the package, or where scikit-image keeps what it has downloaded.
    folders = [Path(skimage.data.__file__).parent, Path(skimage.data.data_dir)]
    found, missing = [], []
    for name in SKIMAGE_IMAGES:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            missing.append(name)
        else:
            found.append(path)
    return found, missing
