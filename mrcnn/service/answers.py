"""Answers: detections as JSON in COCO's results format, or drawn into the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from mrcnn.detection.result_dict import DetectionResult


class Mask(BaseModel):
    """A mask as COCO's compressed run lengths."""

    size: list[int] = Field(description="Height and width of the image in pixels.")
    counts: str


class FoundObject(BaseModel):
    """One detection in COCO's results format."""

    image_id: int
    file_name: str | None = None
    category_id: int = Field(description="COCO's id for the 80 classes of COCO, else the class id.")
    category_name: str
    bbox: list[float] = Field(description="x, y, width and height in pixels.")
    score: float = Field(description="0 to 1.")
    area: float = Field(description="Pixels of the mask.")
    segmentation: Mask | list[list[float]] | None = Field(
        default=None, description="Run lengths, or polygons as lists of x, y."
    )


class Found(BaseModel):
    """The detections of one image, the highest score first."""

    model: str
    width: int = Field(description="Pixels of the image, upright by its EXIF orientation.")
    height: int
    threshold: float
    refined: bool
    seconds: float = Field(description="Time from the end of the upload to the answer.")
    objects: list[FoundObject]


class Problem(BaseModel):
    """Why a request was refused, in one sentence."""

    error: str


class Health(BaseModel):
    """What the service runs."""

    status: str
    model: str
    version: str
    classes: list[str]
    refiner: str | None = None


def above(result: DetectionResult, threshold: float) -> DetectionResult:
    """Return the detections of at least this score, the highest first."""
    scores = np.asarray(result["scores"])
    order = np.argsort(-scores, kind="stable")
    return result[order[scores[order] >= threshold]]


def objects_of(
    result: DetectionResult, file_name: str | None, segmentation: str
) -> list[dict[str, Any]]:
    """Return the detections as `DetectionResult.to_coco` does; see `FoundObject`."""
    return result.to_coco(0, file_name, segmentation=segmentation)


def annotated_png(image: np.ndarray, result: DetectionResult) -> bytes:
    """Return the image with its detections as a PNG file, drawn as `mrcnn detect` draws them.

    Args:
        image: [height, width, 3] uint8 RGB.
        result: its detections.
    """
    import cv2

    from mrcnn.drawing.rendering import draw_instances

    one_class = len(set(np.asarray(result["class_ids"]).tolist())) == 1
    drawn = draw_instances(
        image,
        result,
        class_names=result.class_names,
        color_by="instance" if one_class else "class",
    )
    return cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()
