"""Find objects in images: molding, the detector, streaming, tiling, and results on disk."""
