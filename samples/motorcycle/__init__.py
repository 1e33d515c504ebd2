"""The sample motorcycle; see motorcycle.py."""
