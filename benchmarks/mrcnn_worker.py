"""Detection with this package, as `inference.py` times it, in a process of its own.

    python benchmarks/mrcnn_worker.py NETWORK ENGINE PRECISION SIZE

NETWORK is resnet50, resnet101 or small; the last has its own size. ENGINE is one of `MaskRCNN`, or
"reference" for the bare network in plain TensorFlow. Answers what `workers.py` asks.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

import numpy as np
from measures import matrix_rate, separate_scores, tame_weights
from workers import Clock, peak_memory, serve

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


class Detection:
    """`MaskRCNN.detect`, with clocks around its stages."""

    def __init__(self, network, engine, precision, size):
        from mrcnn.startup.backend import import_backend

        import_backend()
        from mrcnn.datasets.image_files import read_image
        from mrcnn.detection import molding
        from mrcnn.model import MaskRCNN

        self._clock = Clock()
        # `detect` looks these up when it runs.
        molding.resize_inputs = self._clock.timed("mold", molding.resize_inputs)
        molding.unmold = self._clock.timed("paste", molding.unmold)
        self._read = self._clock.timed("decode", read_image)
        config = network_config(network, size)
        how = {"engine": engine, "precision": precision}
        self._model = MaskRCNN("inference", config, "logs", **how)
        tame_weights(self._model.keras_model)
        separate_scores(self._model.keras_model)
        self._chosen = self._bare = None
        self._boxes = []

    def prepare(self, photo, objects, batch=1, confidence=None):
        """Set up detection in copies of a photograph, and run it once.

        Args:
            photo: path of the photograph.
            objects: number of objects to find.
            batch: number of copies.
            confidence: DETECTION_MIN_CONFIDENCE, from an earlier answer; None searches for the one
                that leaves `objects` of the objects that a random network finds.
        """
        self._model._calibration = [photo, photo]  # for int8 alone, and enough to time it
        self._photo, self._batch, self._bare = photo, batch, None
        answer = {}
        if confidence is None and objects:
            self._choose(0.0, objects)
            scores = self._model.detect([self._read(photo)])[0]["scores"]
            answer["first_peak_gb"] = peak_memory()["peak_memory_gb"]
            confidence = float(scores.min()) * 0.99999
        self._choose(confidence if objects else 1.0, max(objects, 1))
        self.run(bare=False)
        return {**answer, "confidence": confidence, "objects": self._found}

    def _choose(self, confidence, objects):
        """Make the engine again, as the graph contains both numbers."""
        if (confidence, objects) == self._chosen:
            return
        self._chosen = confidence, objects
        for config in (self._model.config, self._model._shared.config):
            config.DETECTION_MIN_CONFIDENCE = confidence
            config.DETECTION_MAX_INSTANCES = objects
        self._model._engine = None
        engine = self._model.engine
        if engine.name == "openvino":
            engine.prepare()
            # Everything between its pieces is box arithmetic.
            for name in ("_proposals", "_detections"):
                setattr(engine, name, self._clock.timed("detections", getattr(engine, name)))
        engine.run = self._clock.timed("network", engine.run)

    def run(self, bare=True):
        """Return the seconds by stage of one detection, and of the bare network."""
        self._model.config.IMAGES_PER_GPU = self._batch
        self._clock.seconds.clear()
        begun = time.perf_counter()
        images = [self._read(self._photo) for _ in range(self._batch)]
        results = self._model.detect(images)
        total = time.perf_counter() - begun
        seconds = {**self._clock.seconds, "all": total}
        self._found = len(results[0]["rois"])
        if bare:
            if self._bare is None:
                self._bare = self._make_bare(images)
                self._bare()
            begun = time.perf_counter()
            self._bare()
            seconds["bare"] = time.perf_counter() - begun
            if self._boxes:  # a part of Keras' one graph, so it is timed by itself
                begun = time.perf_counter()
                for box_arithmetic in self._boxes:
                    box_arithmetic()
                seconds["detections"] = time.perf_counter() - begun
                seconds["network"] -= seconds["detections"]
        return seconds

    def _make_bare(self, images):
        """Return backbone, pyramid and RPN of the same engine as a function."""
        from mrcnn.detection import molding
        from mrcnn.engines import pieces
        from mrcnn.engines.keras_engine import compile_inference

        molded, metas, _ = molding.mold_inputs(images, self._model.config)
        molded, metas = np.stack(molded), metas.astype(np.float32)
        if self._model.engine.name == "openvino":
            infer = self._model.engine._infer  # one image at a time
            return lambda: [infer("trunk", image[None]) for image in molded]
        parts = pieces.build_pieces(self._model._shared)
        parts = {name: compile_inference(graph) for name, graph in parts.items()}
        anchors = self._model.get_anchors(molded.shape[1:])
        anchors = np.broadcast_to(np.asarray(anchors, np.float32), (len(images), *anchors.shape))
        table, rpn_class, rpn_bbox = parts["trunk"]([molded])
        to_rois = [rpn_class, rpn_bbox, anchors]
        rois = parts["proposals"](to_rois)
        sizes = pieces.pyramid_sizes(self._model.config, molded.shape[1:])
        pooled = parts["classifier_align"]([rois, metas, table, sizes])
        to_detections = [rois, *parts["classifier"]([pooled]), metas]
        parts["detections"](to_detections)
        self._boxes = [
            functools.partial(parts["proposals"], to_rois),
            functools.partial(parts["detections"], to_detections),
        ]
        return functools.partial(parts["trunk"], [molded])

    def memory(self):
        """Return the peak memory of this process."""
        return peak_memory()

    def rates(self):
        """Return billions of operations per second in matrix products, by precision."""
        return {precision: matrix_rate(precision) for precision in ("float32", "bfloat16")}

    def default_engine(self):
        """Return what `engine="auto"` selects on this machine."""
        from mrcnn.engines.bfloat16 import is_bfloat16_better
        from mrcnn.engines.selection import check_choice

        engine = check_choice("auto", None, "inference", self._model.config)
        lowered = engine == "openvino" and is_bfloat16_better(self._model.config)
        return {"engine": engine, "precision": "bfloat16" if lowered else "float32"}

    def gflop(self, objects):
        """Return billions of operations of the networks with this number of detections.

        "direct" with direct convolutions, "float32" as they are computed in float32, and "trunk",
        the part of "direct" in backbone, pyramid and RPN.
        """
        from mrcnn.engines.conversion import convert

        config = self._model.config
        sides = [int(side) for side in config.IMAGE_SHAPE[:2]]
        sizes = {"trunk": [1, *sides]}
        sizes["classifier"] = [1, config.POST_NMS_ROIS_INFERENCE]
        if objects:
            sizes["mask"] = [1, objects]
        answer = {}
        parts = self._model.engine._models
        for name, by_winograd in (("float32", True), ("direct", False)):
            models = {
                part: convert(parts[part], sides if part == "trunk" else None, by_winograd)
                for part in sizes
            }
            counts = {name: operations(models[name], size) / 1e9 for name, size in sizes.items()}
            answer[name], answer["trunk"] = sum(counts.values()), counts["trunk"]
        return answer


class Reference:
    """Backbone, pyramid and RPN in plain TensorFlow float32, with direct convolutions."""

    def __init__(self, network, size):
        from mrcnn.startup.backend import import_backend

        import_backend()
        from mrcnn.engines import pieces
        from mrcnn.engines.keras_engine import compile_inference
        from mrcnn.model import MaskRCNN

        config = network_config(network, size)
        model = MaskRCNN("inference", config, "logs", engine="keras", precision="float32")
        tame_weights(model.keras_model)
        self._trunk = compile_inference(pieces.trunk_piece(model._shared))
        self._image = np.zeros((1, *config.IMAGE_SHAPE), np.float32)

    def prepare(self, **job):
        """Trace the network; there is nothing to set up."""
        from mrcnn.layers.winograd import winograd

        with winograd(False):
            self._trunk([self._image])  # traced here
        return {"objects": 0}

    def run(self, bare=True):
        """Return the seconds of one run."""
        begun = time.perf_counter()
        self._trunk([self._image])
        seconds = time.perf_counter() - begun
        return {"all": seconds, "bare": seconds}


def network_config(network, size):
    """Return the settings of a network at an input size."""
    from mrcnn.config import Config

    if network == "small":
        from mrcnn.checkpoints.description import describe_weights

        config = describe_weights("small").config
    else:
        config = Config()
        config.NAME, config.BACKBONE, config.NUM_CLASSES = "benchmark", network, 81
        config.IMAGE_MAX_DIM = size
        config.IMAGE_MIN_DIM = min(config.IMAGE_MIN_DIM, size)
    config.GPU_COUNT = config.IMAGES_PER_GPU = 1
    return config


def operations(model, size):
    """Return the operations of convolutions and matrix products in an OpenVINO model.

    Two for each multiplication and addition, with an input whose shape starts with `size`.
    """
    from mrcnn.engines.openvino_package import import_openvino

    ov = import_openvino()
    rest = list(model.input(0).partial_shape)[len(size) :]
    model.reshape({0: ov.PartialShape([*size, *(int(str(d)) for d in rest)])})
    total = 0.0
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        if kind in ("Convolution", "ConvolutionBackpropData"):
            kernel = list(op.input(1).get_shape())
            # Each output, or for the transposed one each input, meets the kernel once.
            ends = op.output(0) if kind == "Convolution" else op.input(0)
            total += 2 * np.prod(list(ends.get_shape()), dtype=float) * np.prod(kernel[1:])
        elif kind == "MatMul":
            inner = list(op.input(0).get_shape())[-1]
            total += 2 * np.prod(list(op.output(0).get_shape()), dtype=float) * inner
    return total


if __name__ == "__main__":
    network, engine, precision, size = sys.argv[1:]
    if engine == "reference":
        serve(lambda: Reference(network, int(size)))
    else:
        serve(lambda: Detection(network, engine, precision, int(size)))
