"""Training: the trainer, which layers are trained, checkpoints, callbacks, devices."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "BestCheckpoint": "mrcnn.training.callbacks",
    "EarlyStopping": "mrcnn.training.callbacks",
    "NamedSchedule": "mrcnn.training.schedules",
    "NonFiniteLossError": "mrcnn.training.fit_callbacks",
    "TrainingModel": "mrcnn.training.training_model",
    "ValidationAP": "mrcnn.training.callbacks",
    "joined": "mrcnn.training.hosts",
    "make_optimizer": "mrcnn.training.schedules",
    "newest_checkpoint": "mrcnn.training.log_folders",
    "select_devices": "mrcnn.training.devices",
    "set_trainable": "mrcnn.training.layer_selection",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
