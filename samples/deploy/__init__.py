"""Programs that run exported models without this package; see onnx_without_mrcnn.py."""
