"""The options of `mrcnn train` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mrcnn.cli.options import existing_settings

# Titles of groups of options. Those of the dataset, which other commands share, have none.
MODEL = "Model"
STEPS = "Training"
RATE = "Learning rate and optimizer"
VALIDATION = "Validation"
OUTPUT = "Output"


def _option(panel: str | None, text: str, **settings: Any) -> Any:
    """Return an option whose name is that of the parameter."""
    return typer.Option(help=text, rich_help_panel=panel, **settings)


Val = Annotated[
    str | None, _option(None, "Dataset to validate on, if it is not a part of the first.")
]
ValFraction = Annotated[
    float, _option(None, "Share of the images used for validation.", min=0.0, max=0.9)
]
Weights = Annotated[
    str | None,
    _option(
        MODEL,
        "Start from: small, coco, imagenet, none, or a weight file. By default small (mask_rcnn, "
        "faster_rcnn), coco (fast_rcnn), imagenet (with --backbone; rcnn, FCN, SegNet) or none "
        "(U-Net, YOLO).",
    ),
]
Rename = Annotated[
    list[str] | None,
    _option(
        MODEL,
        "Let a class of the dataset continue one of the weights that has another name; may be "
        "repeated. Example: pedestrian=person.",
        metavar="NEW=OLD",
    ),
]
Backbone = Annotated[
    str | None,
    _option(MODEL, "Name of the backbone, such as resnet50, squeezenet or mobilenet_v2."),
]
ImageSize = Annotated[
    int | None,
    _option(
        MODEL,
        "Side of the input in pixels, a multiple of 64; of 32 for YOLO; of semantic networks that "
        "of the parts which larger images are trained on in.",
        min=64,
    ),
]
ConfigFile = Annotated[
    Path | None,
    _option(MODEL, "JSON file with further settings.", callback=existing_settings),
]
Proposals = Annotated[
    Path | None,
    _option(
        MODEL,
        "Of Fast R-CNN: file (.npz) that keeps the region proposals of selective search for the "
        "next training.",
        metavar="FILE",
    ),
]
Layers = Annotated[
    str | None,
    _option(
        STEPS,
        "What is trained: heads (all but the backbone; the default); roi_heads (what follows the "
        "proposals; the default with small where its proposals find the objects already); 5+, 4+, "
        "3+ (also the backbone from that stage on); all; or a pattern of layer names. Of YOLO "
        "heads (the output layers) or all, the default.",
    ),
]
Loss = Annotated[
    str,
    _option(STEPS, "Of semantic networks: cross_entropy, dice or cross_entropy+dice."),
]
ClassWeights = Annotated[
    str | None,
    _option(STEPS, "Of semantic networks: median (rare classes count more, as in SegNet) or none."),
]
Epochs = Annotated[int, _option(STEPS, "Train until this epoch.", min=1)]
Steps = Annotated[
    int | None, _option(STEPS, "Steps per epoch; by default, each image is seen once.", min=1)
]
BatchSize = Annotated[int | None, _option(STEPS, "Images per step.", min=1)]
Augment = Annotated[
    str,
    _option(
        STEPS,
        "none; flips (left to right); light (also size, shift, brightness); strong (also rotation, "
        "shape and color); or a Python file that defines `augmentation`.",
    ),
]
Seed = Annotated[
    int | None, _option(STEPS, "Seed of order and augmentation, to repeat a training.")
]
LearningRate = Annotated[
    float | None,
    _option(
        RATE,
        "Learning rate, after the warm-up; by default that of the settings (0.001), a tenth of it "
        "for adam and adamw.",
        min=0.0,
    ),
]
Schedule = Annotated[
    str,
    _option(
        RATE,
        "How the learning rate changes: constant; step (a tenth after 2/3 and again after 8/9 of "
        "all steps); cosine (falls to zero).",
    ),
]
Warmup = Annotated[
    float,
    _option(RATE, "Epochs in which the learning rate rises, such as 1 or 0.5.", min=0.0),
]
Optimizer = Annotated[str, _option(RATE, "sgd, adam or adamw.")]
Accumulate = Annotated[
    int | None,
    _option(RATE, "Steps whose gradients are averaged, for larger batches than fit.", min=1),
]
Precision = Annotated[
    str | None, _option(RATE, "Numbers the network computes in: float32, bfloat16 or float16.")
]
MeasureAP = Annotated[
    bool,
    _option(
        VALIDATION,
        "Measure AP (mean IoU of semantic networks) after each epoch, keep the best weights and "
        "draw predictions. Done where there are validation images.",
    ),
]
ApImages = Annotated[
    int, _option(VALIDATION, "Largest number of images that AP is measured on.", min=1)
]
Average = Annotated[
    bool,
    _option(
        VALIDATION,
        "At the end, measure means of the weights before and after as well, and keep one that is "
        "the best. Done where the weights know all classes before the first step.",
    ),
]
EarlyStopping = Annotated[
    bool,
    typer.Option(
        "--early-stopping",
        help="Stop after 10 epochs without a better AP.",
        rich_help_panel=VALIDATION,
    ),
]
# What AP and `best.h5` had to be asked for with in earlier versions.
Best = Annotated[bool, typer.Option("--best", hidden=True)]
Output = Annotated[Path, _option(OUTPUT, "Folder for weights and logs.")]
Name = Annotated[
    str | None, _option(OUTPUT, "Name of the training; by default, that of the dataset.")
]
Keep = Annotated[
    str,
    _option(
        OUTPUT,
        "Number of epochs whose weights are kept, the last ones, beside best.h5; or all.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue after the last epoch of this name, with the same options.",
        rich_help_panel=OUTPUT,
    ),
]
Hosts = Annotated[
    int | None,
    _option(
        STEPS,
        "Number of processes, on several machines or one, that train together on JAX; by default "
        "as many as torchrun, srun or another launcher has started. 1 trains alone.",
        min=1,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=OUTPUT)
]
