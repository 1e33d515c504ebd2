"""Systems that stand beside Mask R-CNN, each with its own pipeline."""
