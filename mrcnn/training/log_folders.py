"""Log folders, `<NAME><date>T<hour and minute>`: each training has one of its own.

Matterport's package reads time and epoch from the names of folders and files, so a folder that
another training of that minute has gives way to the next minute's, not to a name with a suffix.
"""

import datetime
import os
import re

TIME_FORMAT = "%Y%m%dT%H%M"
MARK = "config.json"
# <log folder: name and time>/mask_rcnn_<name>_<epoch>.h5, written on any system.
_CHECKPOINT = re.compile(
    r"(?:.*[/\\])?(?P<name>[^/\\]+)(?P<time>\d{8}T\d{4})[/\\]mask_rcnn_[^/\\]*?(?P<epoch>\d{4,})\.h5"
)
_WITH_TIME = re.compile(r"(?P<start>.*)(?P<time>\d{8}T\d{4})", re.DOTALL)


def choose_folder(model_dir, name, model_path=None):
    """Where a training writes.

    Args:
        model_dir: folder of log folders.
        name: `NAME` in lower case.
        model_path: the weights it starts from. A checkpoint's time and epoch are continued, and
            its folder too if it is of this name.

    Returns:
        `(folder, epoch, goes_on)`: `goes_on` says whether it continues a checkpoint.
    """
    match = _CHECKPOINT.fullmatch(os.fspath(model_path)) if model_path else None
    if not match:
        folder = os.path.join(model_dir, f"{name}{datetime.datetime.now():{TIME_FORMAT}}")
        return free_folder(folder), 0, False
    folder = os.path.join(model_dir, f"{name}{match['time']}")
    if match["name"] == name and os.path.isdir(os.path.dirname(model_path)):
        folder = os.path.dirname(model_path)
    return folder, int(match["epoch"]), True


def newest_checkpoint(model_dir, name):
    """Path of the newest checkpoint of the newest training of a name.

    Raises:
        FileNotFoundError: when there is none.
    """
    folders = []
    if os.path.isdir(model_dir):
        folders = sorted(f for f in os.listdir(model_dir) if f.startswith(name))
        # A training named "cat" is not one named "catfish".
        own = [f for f in folders if re.fullmatch(r"\d{8}T\d{4}", f.removeprefix(name))]
        folders = own or folders
    if not folders:
        raise FileNotFoundError(
            f"no training of {name!r} in {model_dir!r}: no folder there begins with {name!r}"
        )
    folder = os.path.join(model_dir, folders[-1])
    files = sorted(f for f in os.listdir(folder) if f.startswith("mask_rcnn") and f.endswith(".h5"))
    if not files:
        raise FileNotFoundError(f"no weight file mask_rcnn*.h5 in {folder!r}")
    return os.path.join(folder, files[-1])


def is_taken(folder):
    """Whether a training has written to this folder."""
    try:
        files = os.listdir(folder)
    except OSError:
        return False
    return any(f == MARK or f.startswith(("mask_rcnn", "events.out")) for f in files)


def free_folder(folder):
    """This folder, or that of the first later minute which no training has."""
    while is_taken(folder):
        match = _WITH_TIME.fullmatch(folder)
        if not match:
            return folder  # named by the user
        try:
            time = datetime.datetime.strptime(match["time"], TIME_FORMAT)
        except ValueError:
            return folder
        time += datetime.timedelta(minutes=1)
        folder = f"{match['start']}{time:{TIME_FORMAT}}"
    return folder


def claim_folder(folder):
    """Make the folder of a new training, a later minute's if another training has it.

    It then holds an empty `config.json`: of two processes, one can make that file.

    Returns:
        The path of the folder made.
    """
    while True:
        folder = free_folder(folder)
        os.makedirs(folder, exist_ok=True)
        try:
            with open(os.path.join(folder, MARK), "x"):
                return folder
        except FileExistsError:
            # Named by the user; or another process was quicker, since `free_folder` looked.
            if free_folder(folder) == folder:
                return folder
