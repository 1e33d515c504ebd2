"""Log folders, `<NAME><date>T<hour and minute>`: each training has one of its own.

Matterport's package reads time and epoch from the names of folders and files, so a folder that
another training of that minute has gives way to the next minute's, not to a name with a suffix.
"""

import datetime
import os
import re

TIME_FORMAT = "%Y%m%dT%H%M"
MARK = "config.json"
_WITH_TIME = re.compile(r"(?P<start>.*)(?P<time>\d{8}T\d{4})", re.DOTALL)


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
        if is_taken(folder):  # named by the user
            return folder
        try:
            with open(os.path.join(folder, MARK), "x"):
                return folder
        except FileExistsError:
            pass  # another process was quicker
