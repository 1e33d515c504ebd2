"""The sample shapes; see shapes.py."""
