"""torchvision's Mask R-CNN as `inference.py` times it; for a Python with torch and torchvision.

    python benchmarks/torchvision_peer.py NETWORK SIZE THREADS          # answers `workers.py`
    python benchmarks/torchvision_peer.py NETWORK SIZE THREADS PHOTO    # one detection, and ends

`maskrcnn_resnet50_fpn`, or for NETWORK resnet101 the same on that backbone; float32, channels last.
Its input is padded to a square of SIZE, as this package's is. Random weights, scaled as
those of `measures.tame_weights`.
"""

import sys
import time

from workers import Clock, peak_memory, serve


class Peer:
    """torchvision's model, with clocks around its stages."""

    def __init__(self, network, size, threads):
        import torch
        import torchvision
        from torchvision.models import detection

        self._torch, self._io = torch, torchvision.io
        self._versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        sizes = {"min_size": size, "max_size": size}
        if network == "resnet101":
            backbone = detection.backbone_utils.resnet_fpn_backbone(
                backbone_name=network, weights=None, norm_layer=torch.nn.BatchNorm2d
            )
            model = detection.MaskRCNN(backbone, 91, **sizes)
        else:
            nothing = {"weights": None, "weights_backbone": None}
            model = detection.maskrcnn_resnet50_fpn(**nothing, **sizes)
        model.transform.size_divisible = size
        self._model = model.eval().to(memory_format=torch.channels_last)
        self._tame()
        self._clock = clock = Clock()
        for owner, name, stage in (
            (model.transform, "forward", "mold"),
            (model.transform, "postprocess", "paste"),
            (model.rpn, "filter_proposals", "detections"),
            (model.roi_heads, "postprocess_detections", "detections"),
        ):
            setattr(owner, name, clock.timed(stage, getattr(owner, name)))
        self._read = clock.timed("decode", self._read_photo)
        self._network = clock.timed("network", model)
        self._threshold = clock.timed("paste", self._as_bool)

    def _tame(self):
        predictor = self._model.roi_heads.box_predictor
        with self._torch.no_grad():
            for name, module in self._model.backbone.named_modules():
                if name.endswith("bn3"):
                    module.weight.fill_(0.1)
            for layer in (predictor.bbox_pred, self._model.rpn.head.bbox_pred):
                layer.weight.mul_(0.01)
                layer.bias.zero_()
            predictor.cls_score.bias[0] = -100

    def _read_photo(self, photo):
        return self._io.decode_image(self._io.read_file(photo))

    @staticmethod
    def _as_bool(result):
        return result["masks"] >= 0.5

    def prepare(self, photo, objects, batch=1, confidence=None):
        """Set up detection in copies of a photograph; see `mrcnn_worker.Detection.prepare`."""
        self._photo, self._batch = photo, batch
        heads = self._model.roi_heads
        if confidence is None and objects:
            heads.score_thresh, heads.detections_per_img = 0.0, objects
            with self._torch.inference_mode():
                (result,) = self._model([self._read(photo) / 255])
            confidence = float(result["scores"].min()) * 0.99999
        heads.score_thresh = confidence if objects else 1.0
        heads.detections_per_img = 100
        self.run(bare=False)
        answer = {"confidence": heads.score_thresh, "objects": self._found}
        return {**answer, "versions": self._versions}

    def run(self, bare=True):
        """Return the seconds by stage of one detection, and of backbone, pyramid and RPN alone."""
        model = self._model
        self._clock.seconds.clear()
        with self._torch.inference_mode():
            begun = time.perf_counter()
            images = [self._read(self._photo) / 255 for _ in range(self._batch)]
            results = self._network(images)
            for result in results:
                self._threshold(result)
            seconds = {**self._clock.seconds, "all": time.perf_counter() - begun}
            self._found = len(results[0]["boxes"])
            if bare:
                molded, _ = model.transform(images)
                begun = time.perf_counter()
                model.rpn.head(list(model.backbone(molded.tensors).values()))
                seconds["bare"] = time.perf_counter() - begun
        return seconds

    def memory(self):
        """Return the peak memory of this process."""
        return peak_memory()


def main():
    """Serve requests, or detect once in the photograph of the command line."""
    network, size, threads, *photo = sys.argv[1:]

    def make():
        return Peer(network, int(size), int(threads))

    if photo:
        make().prepare(photo[0], 10, confidence=1.0)
    else:
        serve(make)


if __name__ == "__main__":
    main()
