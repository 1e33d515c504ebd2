"""The sample coco; see coco.py."""
