"""Detection: from images of any size to boxes, classes, scores and masks in their pixels.

    resize_inputs -> Detector.infer (engine, batches of one shape) -> unmold, refine

`detect` does this for a list, `detect_stream` for any number of images, `detect_tiled` for large
ones, `detect_molded` for network inputs.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.config_rules import is_number
from mrcnn.detection import molding, streaming, tiling
from mrcnn.detection.calibration import calibration_images
from mrcnn.detection.eager import eager_mode
from mrcnn.detection.given_model import GivenModelEngine
from mrcnn.detection.result_dict import DetectionResult
from mrcnn.engines.selection import check_choice, is_automatic, make_engine
from mrcnn.files.names import shown
from mrcnn.geometry.anchors import normalized_anchors
from mrcnn.geometry.boxes import norm_boxes
from mrcnn.geometry.image_meta import ORIGINAL_IMAGE_SHAPE, WINDOW
from mrcnn.geometry.images import as_rgb, molded_floats
from mrcnn.geometry.masks import mask_scores
from mrcnn.geometry.proposals import check_proposals, move_proposals
from mrcnn.geometry.rle import encode_rle
from mrcnn.refinement.results import open_refiner, precision_for, refine_result
from mrcnn.startup.backend import backend_name

if TYPE_CHECKING:
    import keras

    from mrcnn.config import Config
    from mrcnn.graphs import SharedLayers

# A network input, the image it was made of, and its proposals, normalized, if there is no RPN.
_Molded = tuple[molding.ResizedImage, Any, np.ndarray | None]

# Refined masks that become run lengths are made in groups of this many pixels: 0.4 GB.
_MASK_PIXELS = 1 << 25
_PER_BOX = ("rois", "class_ids", "scores")
# Anchors are cached for this many input shapes; those of a large image take 10 MB.
_MAX_CACHED_ANCHORS = 16


def log(text: str, array: np.ndarray | None = None) -> None:
    """Print a text and, for an array, its shape, range and type."""
    if array is not None:
        low, high = (array.min(), array.max()) if array.size else (np.nan, np.nan)
        text = f"{text:<25}shape: {array.shape!s:<20}  "
        text += f"min: {float(low):10.5f}  max: {float(high):10.5f}  {array.dtype}"
    print(text)


def _stack_boxes(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Stack normalized boxes [M, 4] of several images: [batch, N, 4] float32, zero padded."""
    stacked = np.zeros((len(boxes), max(map(len, boxes)), 4), np.float32)
    for row, of_image in zip(stacked, boxes):
        row[: len(of_image)] = of_image
    return stacked


def _warning_if_molded(
    results: Generator[tuple[Any, Any], None, None],
) -> Iterator[tuple[Any, Any]]:
    """Pass on `(image, result)` and warn of the first image that was molded before.

    This runs in the caller's thread, so that the warning can point to the caller's line.
    """
    warned = False
    with contextlib.closing(results):
        for image, result in results:
            if not warned and molding.is_molded(image):
                molding.warn_if_molded([image])
                warned = True
            yield image, result


def _check_share(name: str, value: Any) -> None:
    """Raise ValueError for a value that is no number from 0 to 1."""
    if not (is_number(value) and 0 <= value <= 1):
        raise ValueError(f"{name} is {shown(value)}; it must be a number from 0 to 1")


def _confident(
    detections: np.ndarray, masks: np.ndarray | None, min_confidence: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows of an image's detections [rows, 6] and masks [N, h, w] of a high score."""
    rows = detections[:, 5] >= min_confidence
    if masks is None:
        return detections[rows], None
    rows = rows[: len(masks)]
    return detections[: len(masks)][rows], masks[rows]


def _with_mask_scores(
    detections: np.ndarray, masks: np.ndarray, min_confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return an image's detections [rows, 6] and masks [N, h, w] as `MASK_SCORES` has them.

    The rows are those with a mask, best first, without those that fall below `min_confidence`.
    """
    detections = detections[: len(masks)].copy()
    detections[:, 5] *= mask_scores(masks)
    order = np.argsort(-detections[:, 5], kind="stable")
    order = order[detections[order, 5] >= min_confidence]
    return detections[order], masks[order]


def _refined(
    output: tuple[np.ndarray, np.ndarray],
    places: molding.Places,
    image: np.ndarray,
    refiner: Any,
    mask_probabilities: bool,
    rle: bool,
    precision: str,
) -> dict[str, Any]:
    """Return the entries of an image's result with refined masks.

    As run lengths they are made in groups: probabilities of the size of a large image would take
    gigabytes for a few objects.
    """
    detections, masks = output
    step = len(masks)
    if rle and not mask_probabilities:
        step = _MASK_PIXELS // int(places[0][0] * places[0][1])
    parts = []
    for start in range(0, len(masks), max(step, 1)) or (0,):
        rows = slice(start, start + max(step, 1))
        entries = molding.unmold(detections[rows], masks[rows], places, probabilities=True)
        entries = refine_result(image, entries, refiner, mask_probabilities, precision)
        if rle:
            entries["rles"] = encode_rle(entries.pop("masks"))
        parts.append(entries)
    if len(parts) == 1:
        return parts[0]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in _PER_BOX}
    return {**joined, "rles": [one for part in parts for one in part["rles"]]}


class Detector:
    """Detection with the weights of a `MaskRCNN`'s layers: images, streams and tiles.

    Args:
        mode: "training" or "inference".
        config: validated `Config`.
        engine: see `MaskRCNN`.
        precision: see `MaskRCNN`.
        calibration: see `MaskRCNN`.

    Attributes:
        config: as given.
        mode: as given.
        anchors: anchors in pixels, [N, (y1, x1, y2, x2)], of the last call of `get_anchors`.
        class_names: names by class id, the background first, which results pass on; or None.
        propose: where `USE_RPN` is False, a function of an image that returns its proposals
            [N, (y1, x1, y2, x2)] in pixels, such as `mrcnn.family.selective_search`. It is called
            wherever no proposals are given; None, as at first, makes that an error.
        refiner: sharpens the masks where `detect` is not given another; None, as at first, for
            none. `mrcnn.load("small")` sets it.
    """

    # The Keras model, and what `build` made: the layers, and the model on them.
    keras_model: keras.Model
    _shared: SharedLayers
    _built_model: keras.Model | None = None

    # The values of the default arguments. Public scripts derive from `MaskRCNN` with a copy of
    # Matterport's `__init__`, which sets `mode`, `config`, `model_dir` and `keras_model` only.
    anchors: np.ndarray | None = None
    class_names: list[str] | None = None
    propose: Callable[[np.ndarray], Any] | None = None
    refiner: Any = None
    _engine: Any = None
    _engine_wish: str = "auto"
    _precision_wish: str | None = None
    _calibration: Any = None

    def __init__(
        self,
        mode: str,
        config: Config,
        *,
        engine: str = "auto",
        precision: str | None = None,
        calibration: Any = None,
    ) -> None:
        self.mode = mode
        self.config = config
        self._engine_wish = engine
        self._engine_name = check_choice(engine, precision, mode, config)
        self._precision = precision or config.PRECISION
        self._precision_wish = precision
        self._calibration = calibration

    @functools.cached_property
    def _anchor_cache(self) -> dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
        return {}

    @functools.cached_property
    def _engine_name(self) -> str:
        return check_choice(self._engine_wish, None, self.mode, self.config)

    @functools.cached_property
    def _precision(self) -> str:
        return self.config.PRECISION

    # ---- the engine ------------------------------------------------------------------------------

    @property
    def engine(self) -> Any:
        """The engine that runs the network for `detect`; made when it is first needed.

        Raises:
            ValueError: `keras_model` was replaced by a model without the outputs of detection.
        """
        model = self.keras_model
        if getattr(model, "inner_model", model) is not self._built_model:
            # A model that `build` of this class has not made, from `keras.models.load_model` or a
            # `build` of the user's own: it computes by itself, as in Matterport's package.
            if getattr(self._engine, "model", None) is not model:
                self._engine = GivenModelEngine(model)
            return self._engine
        if self._engine is None or isinstance(self._engine, GivenModelEngine):
            with eager_mode():
                self._engine = make_engine(
                    self._engine_name,
                    self._shared,
                    "float32" if self._precision == "float16" else self._precision,
                    None if self._calibration is None else self._calibration_inputs,
                    fallback=self._chooses_engine,
                    may_lower=self._chooses_precision,
                )
        return self._engine

    @property
    def _chooses_engine(self) -> bool:
        """Whether no engine is requested by name for detection."""
        return self.mode == "inference" and is_automatic(self._engine_wish)

    @property
    def _chooses_precision(self) -> bool:
        """Whether neither an engine nor a precision is requested by name."""
        return self._chooses_engine and self._precision_wish is None

    def _layer_config(self, mode: str, config: Config) -> Config:
        """Return the settings with the `PRECISION` that the Keras layers compute in."""
        precision = self._precision if self._engine_name == "keras" else config.PRECISION
        if self._engine_name == "openvino" and mode == "inference":
            precision = "float32"  # OpenVINO lowers the precision itself
        if precision == config.PRECISION:
            return config
        config = copy.copy(config)
        config.PRECISION = precision
        return config

    def _calibration_inputs(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return the arguments of the engine's `run` for each image of `calibration`."""
        inputs = []
        for image in calibration_images(self._calibration):
            (molded,), metas, _ = molding.mold_inputs([image], self.config)
            inputs.append((molded[None], metas, self.get_anchors(molded.shape)))
        return inputs

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Return the normalized anchors [N, (y1, x1, y2, x2)] of a network input of this shape.

        `anchors` holds the same in pixels.

        Args:
            image_shape: (height, width, channels) of the network's input in pixels.
        """
        key = tuple(int(v) for v in image_shape)
        if key not in self._anchor_cache:
            if len(self._anchor_cache) >= _MAX_CACHED_ANCHORS:
                del self._anchor_cache[next(iter(self._anchor_cache))]
            self._anchor_cache[key] = normalized_anchors(self.config, key)
        self.anchors, normalized = self._anchor_cache[key]
        return normalized

    def _resize_input(self, image: Any, name: str) -> molding.ResizedImage:
        """Bring one image to the size that the network takes; `name` is for error messages."""
        return molding.resize_input(image, self.config, name)

    def _infer(
        self,
        inputs: Sequence[np.ndarray],
        metas: np.ndarray,
        batch_size: int,
        proposals: Sequence[np.ndarray] | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Run the network; inputs of equal shape run together.

        Args:
            inputs: [height, width, channels] each; uint8 with the mean pixel, or floats without.
            metas: [N, 12 + num_classes].
            batch_size: number of images that go into the network together.
            proposals: without RPN, normalized boxes [M, 4] for each input.

        Returns:
            `(detections [rows, 6], masks [rows, h, w])` of each input, in their order; None in
            place of the masks without a mask head.
        """
        by_shape: dict[tuple[Any, ...], list[int]] = {}
        outputs: list[Any] = [None] * len(inputs)
        for i, image in enumerate(inputs):
            if proposals is not None and not len(proposals[i]):
                masks = np.zeros((0, *self.config.MASK_SHAPE), np.float32)
                outputs[i] = np.zeros((0, 6), np.float32), masks if self.config.USE_MASK else None
            else:
                by_shape.setdefault((image.shape, image.dtype), []).append(i)
        with eager_mode():
            for (shape, _), indices in by_shape.items():
                for start in range(0, len(indices), batch_size):
                    batch = indices[start : start + batch_size]
                    molded = self._network_input(np.stack([inputs[i] for i in batch]))
                    if proposals is None:
                        boxes = self.get_anchors(shape)
                    else:
                        boxes = _stack_boxes([proposals[i] for i in batch])
                    detections, masks = self.engine.run(molded, metas[batch], boxes)
                    for row, i in enumerate(batch):
                        outputs[i] = detections[row], None if masks is None else masks[row]
        if self.config.MASK_SCORES and self.config.USE_MASK:
            least = float(self.config.DETECTION_MIN_CONFIDENCE or 0)
            outputs = [_with_mask_scores(rows, masks, least) for rows, masks in outputs]
        return outputs

    def _proposals_of(
        self, image: np.ndarray, given: Any, resized: molding.ResizedImage, name: str
    ) -> np.ndarray:
        """Return the proposals of one image, normalized to the network's input.

        Args:
            image: the image.
            given: its proposals in pixels; None asks `propose`.
            resized: the network's input.
            name: what to call the proposals in messages.
        """
        if given is None:
            if self.propose is None:
                raise ValueError(
                    "proposals is None; it must hold the boxes of each image where USE_RPN is "
                    "False, or `propose` of the model a function that makes them, such as "
                    "mrcnn.family.selective_search"
                )
            given = self.propose(image)
        y1, x1, y2, x2 = resized.window
        boxes = check_proposals(given, image.shape, name)
        moved = move_proposals(boxes, image.shape, (y2 - y1, x2 - x1), (y1, x1))
        return norm_boxes(moved, resized.pixels.shape[:2])

    def _check_given_proposals(self, proposals: Any, count: int) -> list[Any]:
        """Return the proposals for each image, None for those to be made.

        Raises:
            ValueError: there is an RPN, or they are not as many as the images.
        """
        if proposals is None:
            return [None] * count
        if self.config.USE_RPN:
            raise ValueError(
                "proposals is given; it must be None where USE_RPN is True: the network finds its "
                "own"
            )
        try:
            given = list(proposals)
        except TypeError:
            raise ValueError(
                f"proposals is {type(proposals).__name__}; it must be a list of an array [N, 4] "
                "for each image"
            ) from None
        if len(given) != count:
            raise ValueError(
                f"proposals has {len(given)} entries; it must have one array [N, 4] for each of "
                f"the {count} images"
            )
        return given

    def _own_or(self, refiner: Any) -> Any:
        """Return the refiner that an argument means: "auto" is the model's own, if it has one."""
        return self.refiner if isinstance(refiner, str) and refiner == "auto" else refiner

    def _check_mask_options(self, mask_probabilities: bool, refiner: Any) -> None:
        """Raise ValueError for options that need masks where there is no mask head."""
        for name, value in (("mask_probabilities", mask_probabilities), ("refiner", refiner)):
            if value and not self.config.USE_MASK:
                raise ValueError(
                    f"{name} is {value!r}; it must not be given where USE_MASK is False: there are "
                    "no masks"
                )

    def _network_input(self, images: np.ndarray) -> Any:
        """Subtract the mean of a batch that still holds it: of one in 8 bits."""
        if images.dtype != np.uint8 or backend_name() != "jax":
            return molded_floats(images, self.config)
        import keras

        # On the GPU, to which a quarter of the bytes travel then.
        pixels = keras.ops.cast(keras.ops.convert_to_tensor(images), "float32")
        return pixels - np.asarray(self.config.MEAN_PIXEL, np.float32)

    # ---- detection -------------------------------------------------------------------------------

    def detect(
        self,
        images: Any,
        verbose: int = 0,
        *,
        mask_probabilities: bool = False,
        refiner: Any = "auto",
        rle: bool = False,
        proposals: Sequence[Any] | None = None,
        min_confidence: float = 0.0,
    ) -> list[DetectionResult]:
        """Find the objects in images.

        Args:
            images: any number of images of any size: gray, RGB or RGBA, of 8 or 16 bits, or
                floats in 0..1 or 0..255. Floats with negative values are taken for an image that
                was molded before: as in Matterport's package the mean is subtracted a second
                time, with a warning.
            verbose: 1 prints the shapes of images and network inputs.
            mask_probabilities: add `mask_probs` to the results.
            refiner: sharpens every mask: a `mrcnn.refinement.Refiner`, its file, or the name of
                the one that comes with the package (`general`). `masks` and `mask_probs`
                are the refined ones then; boxes, classes and scores stay. None leaves the masks as
                they are; "auto" takes `refiner` of the model, which `mrcnn.load("small")` sets.
            rle: return the masks as COCO's run lengths, which takes much less time and memory for
                large images or many objects.
            proposals: where `USE_RPN` is False, the boxes [N, (y1, x1, y2, x2)] of each image that
                may hold objects, in its pixels; an image with none has no detections. None calls
                `propose` for each image.
            min_confidence: leave out detections of a lower score before their masks are made, 0..1.
                `DETECTION_MIN_CONFIDENCE`, below which there are none, is not changed.

        Returns:
            A list with a dict for each image: `rois` [N, (y1, x1, y2, x2)] int32 in pixels,
            `class_ids` [N] int32, `scores` [N] float32 in 0..1, `masks` [height, width, N] bool
            and, if asked for, `mask_probs` [height, width, N] float32 in 0..1. With `rle`, `rles`
            instead of `masks`: N dicts `{"size": [height, width], "counts": str}`. Neither where
            `USE_MASK` is False. The dicts have methods to select, show and convert the detections,
            see `DetectionResult`.

        Raises:
            ValueError: an element of `images` is no image, or its size does not suit the settings
                (the message has its number); a file is no refiner; proposals are missing, or no
                boxes within their image; or a refiner or probabilities are wanted without masks.
            FileNotFoundError: the refiner does not exist.
        """
        images = molding.as_list(images)
        _check_share("min_confidence", min_confidence)
        refiner = self._own_or(refiner)
        self._check_mask_options(mask_probabilities, refiner)
        given = self._check_given_proposals(proposals, len(images))
        refiner = None if refiner is None else open_refiner(refiner)
        if not images:
            return []
        molding.warn_if_molded(images)
        names = [f"images[{i}]" for i in range(len(images))]
        inputs = molding.for_each_image(self._resize_input, images, names)
        pixels = [one.pixels for one in inputs]
        metas = np.array([one.meta for one in inputs])
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
            for array in pixels:
                log("molded_images", molded_floats(array, self.config))
            log("image_metas", metas)
        boxes = None
        if not self.config.USE_RPN:
            names = [f"proposals[{i}]" for i in range(len(images))]
            boxes = list(map(self._proposals_of, images, given, inputs, names))
        outputs = self._infer(pixels, metas, self._batch_size(), boxes)
        if min_confidence > 0:
            outputs = [_confident(*output, min_confidence) for output in outputs]

        def result(output: Any, meta: np.ndarray, image: np.ndarray) -> DetectionResult:
            return self._result(output, meta, image, mask_probabilities, refiner, rle)

        if refiner:  # a network, which uses all cores itself
            return list(map(result, outputs, metas, images))
        return molding.for_each_image(result, outputs, metas, images)

    def _batch_size(self) -> int:
        return max(int(self.config.BATCH_SIZE), 1)

    def detect_stream(
        self,
        images: Iterable[Any],
        batch_size: int = 1,
        *,
        ahead: int = 4,
        errors: streaming.ErrorHandling = "raise",
        with_images: bool = False,
        mask_probabilities: bool = False,
        refiner: Any = "auto",
        rle: bool = False,
        on_stage: streaming.OnStage | None = None,
    ) -> Iterator[Any]:
        """Find the objects in any number of images, one after the other.

        While one image is in the network, the next are read and the masks of the last are made.
        Memory does not grow with the number of images. Closing the generator stops all work.

        Args:
            images: iterable of images, of paths, or of callables that return an image.
            batch_size: number of images that go into the network together, if of one shape.
            ahead: number of batches that may be under way.
            errors: what to do about an image that cannot be read or processed: "raise"; "return",
                which yields the exception in place of the result; or a callable `(index, item,
                exception)`, after which the image is left out. The other images of its batch are
                not affected.
            with_images: yield `(image, result)`; the image is None if it could not be read.
            mask_probabilities: as for `detect`.
            refiner: as for `detect`.
            rle: as for `detect`.
            on_stage: called with the time of each image in each stage, `(index, stage, seconds)`;
                see `mrcnn.detection.streaming.OnStage`.

        Yields:
            A result as `detect` returns, for each image, in their order.

        Raises:
            ValueError: `batch_size` or `ahead` is below 1, or `errors` is another word. With
                `errors="raise"`, an image that cannot be processed; the message begins with its
                path or number.
        """
        if isinstance(images, np.ndarray) and images.ndim < 4:
            raise ValueError(
                f"images is one array {images.shape}; it must be an iterable of images: [image]"
            )
        if isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable):
            raise ValueError(
                f"images is {shown(images)}; it must be an iterable of arrays, paths or callables"
            )
        for name, value in (("batch_size", batch_size), ("ahead", ahead)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if not callable(errors) and errors not in ("raise", "return"):
            raise ValueError(f'errors is {errors!r}; it must be "raise", "return" or a callable')
        refiner = self._own_or(refiner)
        self._check_mask_options(mask_probabilities, refiner)
        refiner = None if refiner is None else open_refiner(refiner)
        options = (mask_probabilities, refiner, rle)
        results = self._stream(images, batch_size, ahead, errors, options, on_stage=on_stage)
        return results if with_images else (result for _, result in results)

    def _stream(
        self,
        images: Iterable[Any],
        batch_size: int,
        ahead: int,
        errors: streaming.ErrorHandling,
        options: tuple[bool, Any, bool],
        name_of: Callable[[int, Any], str] | None = None,
        on_stage: streaming.OnStage | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Return an iterator of `(image, result)`.

        `options` are the last three arguments of `_result`.
        """
        # Made in this thread: in each new one Keras counts the names of layers from the start.
        self.engine  # noqa: B018

        def mold(image: Any, name: str) -> _Molded:
            resized = self._resize_input(image, name)
            if self.config.USE_RPN:
                return resized, image, None
            return resized, image, self._proposals_of(image, None, resized, f"proposals of {name}")

        def infer(inputs: list[_Molded]) -> list[Any]:
            metas = np.array([resized.meta for resized, *_ in inputs])
            pixels = [resized.pixels for resized, *_ in inputs]
            boxes = [boxes for *_, boxes in inputs if boxes is not None]
            return self._infer(pixels, metas, batch_size, None if self.config.USE_RPN else boxes)

        def finish(inputs: _Molded, output: Any) -> DetectionResult:
            resized, image, _ = inputs
            return self._result(output, resized.meta, image, *options)

        return _warning_if_molded(
            streaming.stream(
                images,
                mold,
                infer,
                finish,
                batch_size=batch_size,
                ahead=ahead,
                errors=errors,
                name_of=name_of,
                on_stage=on_stage,
            )
        )

    def detect_tiled(
        self,
        image: Any,
        tile: int | None = None,
        overlap: int | None = None,
        *,
        batch_size: int = 1,
        merge_iou: float = 0.5,
        refiner: Any = "auto",
        rle: bool = False,
        max_pixels: int | None = None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> DetectionResult:
        """Find the objects in a large image, tile by tile; see `mrcnn.detection.tiling`.

        Args:
            image: an image as for `detect`, or the path of one.
            tile: side of a tile in pixels; None takes `IMAGE_MAX_DIM`, which the network sees in
                its own size.
            overlap: smallest number of pixels that neighbors share; None takes a quarter of a
                tile. Objects up to this size are seen whole by some tile.
            batch_size: number of tiles that go into the network together.
            merge_iou: agreement, in the strip that two tiles share, from which two detections are
                parts of one object; 0..1.
            refiner: as for `detect`; refined masks end where their boxes do.
            rle: as for `detect`. Only then no array of the image's size is made for each object.
            max_pixels: largest number of pixels of an image that is given as a path; None for the
                limit of `mrcnn.datasets.image_files`.
            progress: called after each tile with the number of tiles that are done and of all.

        Returns:
            A result as `detect` returns, for the whole image.

        Raises:
            ValueError: `tile` or `overlap` do not work, or a tile cannot be processed.
        """
        whole = image
        image = molding.read_if_path(image, max_pixels)
        if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
            got = f"shape {image.shape}" if hasattr(image, "shape") else type(image).__name__
            raise ValueError(
                f"image is {got}; it must be an array [height, width] or [height, width, channels]"
            )
        # The whole image: one tile does not show whether floats lie in 0..1.
        image = as_rgb(image, channels=int(self.config.IMAGE_SHAPE[2]))
        tile = int(self.config.IMAGE_MAX_DIM if tile is None else tile)
        overlap = tile // 4 if overlap is None else int(overlap)
        height, width = image.shape[:2]
        windows = tiling.tile_windows(height, width, tile, overlap)
        of_image = f" of {os.fspath(whole)}" if isinstance(whole, str | os.PathLike) else ""

        def tile_name(number: int, tile: Any) -> str:
            return f"tile {list(windows[number])}{of_image}"

        refiner = self._own_or(refiner)
        self._check_mask_options(False, refiner)
        refiner = None if refiner is None else open_refiner(refiner)
        tiles = (image[y1:y2, x1:x2] for y1, x1, y2, x2 in windows)
        found = self._stream(tiles, batch_size, 4, "raise", (False, refiner, False), tile_name)
        parts: list[tiling.Part] = []
        for number, (_, result) in enumerate(found):
            parts += tiling.parts_of(result, number, windows[number])
            if progress is not None:
                progress(number + 1, len(windows))
        merged = tiling.merge_parts(
            parts, windows, (height, width), merge_iou, rle, self.config.USE_MASK
        )
        shown = whole if isinstance(whole, np.ndarray) else None
        return DetectionResult(
            merged, class_names=self.class_names, image=shown, image_size=(height, width)
        )

    def detect_molded(
        self,
        molded_images: Sequence[np.ndarray] | np.ndarray,
        image_metas: np.ndarray,
        verbose: int = 0,
        *,
        mask_probabilities: bool = False,
    ) -> list[DetectionResult]:
        """Find the objects in molded images; results in pixels of the molded images.

        Without RPN, use `detect`, which takes proposals.

        Args:
            molded_images: [N, height, width, channels], mean subtracted, all of one size.
            image_metas: [N, 12 + num_classes].
            verbose: 1 prints the shapes.
            mask_probabilities: add `mask_probs` to the results.

        Returns:
            As `detect`.

        Raises:
            ValueError: the two arguments differ in length, a side is no multiple of 64, or the
                network has no RPN.
        """
        if not self.config.USE_RPN:
            raise ValueError("detect_molded needs USE_RPN = True; use detect(images, proposals)")
        self._check_mask_options(mask_probabilities, None)
        if len(molded_images) != len(image_metas):
            raise ValueError(
                f"image_metas has {len(image_metas)} rows; it must have one for each of the "
                f"{len(molded_images)} molded_images"
            )
        for i, image in enumerate(molded_images):
            molding.check_sides(image.shape, f"molded_images[{i}]")
        if verbose:
            log(f"Processing {len(molded_images)} images")
            for image in molded_images:
                log("image", np.asarray(image))
        metas = np.array(image_metas, np.float64)
        for meta, image in zip(metas, molded_images):
            height, width = image.shape[:2]
            meta[ORIGINAL_IMAGE_SHAPE] = image.shape
            meta[WINDOW] = 0, 0, height, width
        inputs = [np.asarray(image, np.float32) for image in molded_images]
        outputs = self._infer(inputs, metas, self._batch_size())
        return [
            DetectionResult(
                molding.unmold(*output, molding.places_of(meta), mask_probabilities),
                class_names=self.class_names,
            )
            for output, meta in zip(outputs, metas)
        ]

    def _result(
        self,
        output: tuple[np.ndarray, np.ndarray | None],
        meta: np.ndarray,
        image: np.ndarray,
        mask_probabilities: bool,
        refiner: Any,
        rle: bool,
    ) -> DetectionResult:
        """Return the result of one image, refined if there is a refiner."""
        places = molding.places_of(meta)
        height, width = (int(side) for side in places[0][:2])
        detections, masks = output
        if refiner is None or masks is None:
            entries = molding.unmold(detections, masks, places, mask_probabilities, rle)
        else:
            with_mean = molding.with_mean(image, self.config)
            found = detections, masks
            precision = precision_for(self)
            entries = _refined(
                found, places, with_mean, refiner, mask_probabilities, rle, precision
            )
        return DetectionResult(
            entries, class_names=self.class_names, image=image, image_size=(height, width)
        )

    # ---- molding, as methods of Matterport's class -----------------------------------------------

    def mold_inputs(
        self, images: Sequence[np.ndarray] | np.ndarray
    ) -> tuple[np.ndarray | list[np.ndarray], np.ndarray, np.ndarray]:
        """Make network inputs; see `mrcnn.detection.molding.mold_inputs`.

        Returns:
            `(molded_images, image_metas, windows)`; molded images of one shape are stacked.
        """
        molded, metas, windows = molding.mold_inputs(images, self.config)
        if len({image.shape for image in molded}) == 1:
            return np.stack(molded), metas, windows
        return molded, metas, windows

    def unmold_detections(
        self,
        detections: np.ndarray,
        mrcnn_mask: np.ndarray,
        original_image_shape: Sequence[int],
        image_shape: Sequence[int],
        window: Sequence[int],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Convert the network outputs of one image to its own pixels.

        Args:
            detections: [N, (y1, x1, y2, x2, class_id, score)] normalized.
            mrcnn_mask: [N, height, width, num_classes] probabilities.
            original_image_shape: (height, width, channels) of the image.
            image_shape: (height, width, channels) of the network's input.
            window: (y1, x1, y2, x2) of the image in the network's input, in pixels.

        Returns:
            boxes [n, 4] int32, class_ids [n] int32, scores [n] float32, masks
            [height, width, n] bool.
        """
        class_ids = detections[:, 4].astype(int)
        masks = np.asarray(mrcnn_mask)[np.arange(len(detections)), :, :, class_ids]
        places = (original_image_shape, image_shape, window)
        result = molding.unmold(np.asarray(detections), masks, places)
        return result["rois"], result["class_ids"], result["scores"], result["masks"]
