"""Draw results with OpenCV, and parts of matplotlib figures."""
