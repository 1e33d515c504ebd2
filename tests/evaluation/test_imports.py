"""Evaluation rooms load fast: nothing heavy until it is used."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("tensorflow", "keras", "matplotlib", "pycocotools", "cv2", "tqdm")
MODULES = "boundary coco curves detections ground_truth instances pixels plots report".split()


def test_evaluation_imports_nothing_heavy():
    imports = ", ".join(f"mrcnn.evaluation.{name}" for name in MODULES)
    code = f"import sys, {imports}; print([m for m in {HEAVY!r} if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
