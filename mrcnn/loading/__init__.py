"""From an image and its masks to a training batch: loading, augmentation, targets.

Of these, only `TrainingBatches` imports Keras; the names load on first use.
"""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "BrokenImageError": "mrcnn.loading.broken_images",
    "TrainingBatches": "mrcnn.loading.batches",
    "allow_imgaug": "mrcnn.loading.imgaug_numpy2",
    "watch_for_imgaug": "mrcnn.loading.imgaug_numpy2",
    "apply_augmentation": "mrcnn.loading.augmentation",
    "build_detection_targets": "mrcnn.loading.detection_targets",
    "build_rpn_targets": "mrcnn.loading.rpn_targets",
    "data_generator": "mrcnn.loading.generator",
    "find_augmentation": "mrcnn.loading.named_augmentation",
    "generate_random_rois": "mrcnn.loading.detection_targets",
    "load_image_gt": "mrcnn.loading.image_gt",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
