"""torchvision's training step as `training.py` times it; for a Python with torch and torchvision.

    python benchmarks/torchvision_training.py PRECISION SIDE ROIS OBJECTS THREADS

`maskrcnn_resnet50_fpn`, all layers, batch statistics frozen, SGD with gradients clipped at 5;
channels last. bfloat16 is `torch.autocast`. Random weights, scaled as those of
`measures.tame_weights`; one image of noise with objects. Answers what `workers.py` asks.
"""

import sys
import time

from workers import peak_memory, serve


class Peer:
    """torchvision's model and an image with objects."""

    def __init__(self, precision, side, rois, objects, threads):
        import torch
        from torchvision.models import detection

        self._torch, self._precision = torch, precision
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = detection.maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=81,
            min_size=side,
            max_size=side,
            box_batch_size_per_image=rois,
            box_positive_fraction=0.33,
        )
        model.transform.size_divisible = side
        with torch.no_grad():
            for name, module in model.backbone.named_modules():
                if name.endswith("bn3"):
                    module.weight.fill_(0.1)
            for layer in (model.roi_heads.box_predictor.bbox_pred, model.rpn.head.bbox_pred):
                layer.weight.mul_(0.01)
        self._model = model.train().to(memory_format=torch.channels_last)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        options = {"momentum": 0.9, "weight_decay": 1e-4}
        self._optimizer = torch.optim.SGD(model.parameters(), 1e-5, **options)
        self._image = torch.randint(0, 256, (3, side * 3 // 4, side)) / 255
        self._target = self._make_target(objects, side * 3 // 4, side)

    def _make_target(self, objects, height, width):
        """Return boxes and masks of rectangles at random places."""
        torch = self._torch
        smallest, largest = width // 32, width // 4
        corners = torch.rand(objects, 2) * torch.tensor([width - largest, height - largest])
        sizes = torch.randint(smallest, largest, (objects, 2))
        boxes = torch.cat([corners.floor(), corners.floor() + sizes], dim=1)
        masks = torch.zeros((objects, height, width), dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
            mask[y1:y2, x1:x2] = 1
        return {"boxes": boxes, "masks": masks, "labels": torch.arange(objects) % 80 + 1}

    def step(self):
        """Return the seconds of one training step."""
        torch, model = self._torch, self._model
        begun = time.perf_counter()
        enabled = self._precision == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = sum(model([self._image], [self._target]).values())
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        self._optimizer.step()
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "loss": float(loss.detach()), **peak_memory()}


if __name__ == "__main__":
    precision, *numbers = sys.argv[1:]
    serve(lambda: Peer(precision, *map(int, numbers)))
