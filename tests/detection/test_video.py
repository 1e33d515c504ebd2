"""Video files: frames, time stamps, sound, rotation, errors."""

import os
import subprocess
import sys
import types
from fractions import Fraction

import cv2
import numpy as np
import pytest

from mrcnn.detection import video_av
from mrcnn.detection.video import VideoReader, VideoWriter

TIMES = (0, 40, 80, 160, 280, 320)  # milliseconds of a variable rate
RED, GREEN = (200, 30, 40), (20, 190, 60)
needs_av = pytest.mark.skipif(not video_av.is_installed(), reason="PyAV is not installed")


@pytest.fixture(params=[pytest.param("av", marks=needs_av), "opencv"])
def library(request, monkeypatch):
    if request.param == "opencv":
        monkeypatch.setattr(video_av, "is_installed", lambda: False)
    return request.param


@pytest.fixture
def without_av(monkeypatch):
    monkeypatch.setattr(video_av, "is_installed", lambda: False)


def frame(number=0, height=48, width=64):
    """Red above green, the last digit as brightness of a block in the middle."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = RED, GREEN
    pixels[16:32, 16:48] = number % 10 * 20
    return pixels


def number_of(pixels):
    return round(float(pixels[20:28, 24:40].mean()) / 20)


def make(path, times=TIMES, audio="aac", start=0, rotation=0, ticks=1000):
    """Write a video of 48 x 64 by PyAV, with 0.32 s of sound; return the path as text.

    Times are counted in ticks; `ticks` of them are a second.
    """
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, ticks)
        sound = container.add_stream(audio, rate=44100, layout="mono") if audio else None
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(times):
            coded = av.VideoFrame.from_ndarray(frame(number), format="rgb24")
            coded.pts, coded.time_base = time + start, Fraction(1, ticks)
            container.mux(stream.encode(coded))
        container.mux(stream.encode())
        if sound:
            wave = np.sin(np.arange(14112) * 0.05) * 3e4
            coded = av.AudioFrame.from_ndarray(
                wave.astype(np.int16)[None], format="s16", layout="mono"
            )
            coded.rate, coded.time_base = 44100, Fraction(1, 44100)
            coded.pts = round(44.1 * start)
            container.mux(sound.encode(coded))
            container.mux(sound.encode())
    return str(path)


def sound_of(path):
    """(seconds, bytes) of each packet of sound."""
    import av

    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets = container.demux(container.streams.audio)
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.dts is not None]


def copy(source, target, **options):
    with VideoReader(source) as reader, VideoWriter(target, reader, **options) as writer:
        for _, seconds, pixels in reader:
            writer.write(pixels, seconds)
    return writer


def read(path):
    with VideoReader(path) as reader:
        return list(reader)


def test_round_trip(tmp_path, library):
    target = tmp_path / "new" / "clip.mp4"
    with VideoWriter(target, fps=10) as writer:
        for number in range(5):
            writer.write(frame(number))
    assert writer.num_frames == 5
    assert [path.name for path in target.parent.iterdir()] == ["clip.mp4"]
    reader = VideoReader(target)
    assert (reader.fps, reader.size, reader.count) == (10, (48, 64), 5)
    found = list(reader)
    assert [index for index, _, _ in found] == [0, 1, 2, 3, 4]
    assert [round(seconds, 4) for _, seconds, _ in found] == [0, 0.1, 0.2, 0.3, 0.4]
    assert [number_of(pixels) for _, _, pixels in found] == [0, 1, 2, 3, 4]
    assert all(p.shape == (48, 64, 3) and p.dtype == np.uint8 for _, _, p in found)
    np.testing.assert_allclose(found[0][2][4, 4], RED, atol=12)
    np.testing.assert_allclose(found[0][2][44, 4], GREEN, atol=12)
    assert len(list(reader)) == 5  # from the beginning again


@pytest.mark.parametrize("size", [(48, 64), (47, 64), (48, 63), (47, 63), (33, 35)])
def test_odd_sizes_repeat_the_last_row_or_column(tmp_path, library, size):
    height, width = size
    with VideoWriter(tmp_path / "odd.mp4", fps=25) as writer:
        for _ in range(2):
            writer.write(frame(0, height, width))
    pixels = read(tmp_path / "odd.mp4")[0][2]
    assert pixels.shape == (height + height % 2, width + width % 2, 3)
    np.testing.assert_allclose(pixels[-1, -1], GREEN, atol=25)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".MP4"])
def test_containers(tmp_path, library, suffix):
    with VideoWriter(tmp_path / f"clip{suffix}", fps=25) as writer:
        for number in range(3):
            writer.write(frame(number))
    assert [number_of(pixels) for _, _, pixels in read(tmp_path / f"clip{suffix}")] == [0, 1, 2]


@needs_av
@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.mov"])
def test_variable_rate_and_sound_are_kept(tmp_path, name):
    source = make(tmp_path / name)
    writer = copy(source, tmp_path / "out.mp4")
    assert writer.notes == []
    before, after = read(source), read(tmp_path / "out.mp4")
    assert [round(seconds * 1000) for _, seconds, _ in before] == list(TIMES)
    assert [seconds for _, seconds, _ in after] == [seconds for _, seconds, _ in before]
    assert [number_of(pixels) for _, _, pixels in after] == [0, 1, 2, 3, 4, 5]
    old, new = sound_of(source), sound_of(tmp_path / "out.mp4")
    assert len(old) >= 14
    assert [packet for _, packet in new] == [packet for _, packet in old]
    np.testing.assert_allclose([t for t, _ in new], [t for t, _ in old], atol=1e-3)


@needs_av
def test_time_stamps_in_an_unusual_unit_are_exact(tmp_path):
    times = [0, 281, 560, 1123, 1124]
    source = make(tmp_path / "in.mp4", times, audio=None, ticks=7001)
    copy(source, tmp_path / "out.mp4")
    for path in (source, tmp_path / "out.mp4"):
        found = [seconds for _, seconds, _ in read(path)]
        np.testing.assert_allclose(found, np.array(times) / 7001, rtol=0, atol=1e-9)


@needs_av
def test_sound_that_is_longer_than_the_video_is_kept(tmp_path):
    source = make(tmp_path / "in.mp4", times=(0, 40, 80))
    copy(source, tmp_path / "out.mp4")
    old, new = sound_of(source), sound_of(tmp_path / "out.mp4")
    assert [packet for _, packet in new] == [packet for _, packet in old]
    assert new[-1][0] > 0.25


@needs_av
def test_a_stream_without_time_stamps(tmp_path):
    source = make(tmp_path / "clip.h264", times=range(0, 400, 40), audio=None)
    times = [seconds for _, seconds, _ in read(source)]
    np.testing.assert_allclose(times, np.arange(10) / 25, atol=1e-9)


@needs_av
def test_a_source_that_does_not_begin_at_zero(tmp_path):
    source = make(tmp_path / "in.ts", audio="mp2", start=3000)
    copy(source, tmp_path / "out.mp4")
    before, after = read(source), read(tmp_path / "out.mp4")
    assert before[0][1] == pytest.approx(0.0109, abs=1e-3)  # the sound begins at 0
    # An MP4 file states where a track begins in milliseconds.
    np.testing.assert_allclose([s for _, s, _ in after], [s for _, s, _ in before], atol=1e-3)
    old, new = sound_of(source), sound_of(tmp_path / "out.mp4")
    np.testing.assert_allclose(
        np.diff([t for t, _ in new]), np.diff([t for t, _ in old]), atol=1e-4
    )
    assert new[0][0] == pytest.approx(0, abs=1e-4)


@needs_av
def test_sound_that_the_file_cannot_hold_is_left_out(tmp_path):
    source = make(tmp_path / "in.avi", times=range(0, 240, 40), audio="adpcm_ms")
    writer = copy(source, tmp_path / "out.mp4")
    assert len(writer.notes) == 1 and "the sound (adpcm_ms) was left out" in writer.notes[0]
    assert len(read(tmp_path / "out.mp4")) == 6
    assert sound_of(tmp_path / "out.mp4") == []


# Weights of red and blue in the luma.
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


def rgb_of_planes(planes, red, blue):
    """Convert the planes `[72, 64]` of a 48 x 64 frame in limited range to RGB."""
    luma = (planes[:48] - 16) / 219
    chroma = (planes[48:].reshape(2, 24, 32).repeat(2, 1).repeat(2, 2) - 128) / 224
    r = luma + 2 * (1 - red) * chroma[1]
    b = luma + 2 * (1 - blue) * chroma[0]
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.stack([r, g, b], axis=2), 0, 255)


@needs_av
@pytest.mark.parametrize(
    ("space", "red_blue"),
    [(None, BT601), (1, BT709), (5, BT601), (6, BT601)],
    ids=["none", "BT.709", "BT.470", "BT.601"],
)
def test_colors_follow_the_color_space_of_the_file(tmp_path, space, red_blue):
    import av

    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        if space is not None:
            stream.codec_context.colorspace = space
        coded = av.VideoFrame.from_ndarray(frame(), format="rgb24")
        container.mux(stream.encode(coded))
        container.mux(stream.encode())
    pixels = read(tmp_path / "clip.mp4")[0][2].astype(float)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        planes = next(container.decode(video=0)).to_ndarray(format="yuv420p").astype(float)
    # The median, since decoders interpolate the halved chroma planes at edges in different ways.
    difference = {k: np.median(abs(pixels - rgb_of_planes(planes, *k))) for k in (BT601, BT709)}
    other = BT709 if red_blue == BT601 else BT601
    assert difference[red_blue] < 2 < 8 < difference[other]


@needs_av
def test_frames_without_time_stamps_of_their_own(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", fps=25) as writer:
        for seconds in (0, 0.04, 0.04, 0.02, float("nan"), 0.3):
            writer.write(frame(), seconds)
    ticks = [round(seconds * 90000) for _, seconds, _ in read(tmp_path / "clip.mp4")]
    assert ticks == [0, 3600, 3601, 3602, 14400, 27000]


@needs_av
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotated_video_is_read_upright(tmp_path, rotation, monkeypatch):
    if not rotation or hasattr(__import__("av").video.stream.VideoStream, "set_display_rotation"):
        source = make(tmp_path / "in.mp4", audio=None, rotation=rotation)
    else:
        pytest.skip("this release of PyAV cannot write a rotation")
    reader = VideoReader(source)
    pixels = next(iter(reader))[2]
    assert reader.size == pixels.shape[:2] == ((64, 48) if rotation in (90, -90) else (48, 64))
    # Where red, the upper half, is after a turn to the left by `rotation`.
    row, column = {0: (2, 24), 90: (32, 2), 180: (45, 24), -90: (32, 45)}[rotation]
    np.testing.assert_allclose(pixels[row, column], RED, atol=12)
    monkeypatch.setattr(video_av, "is_installed", lambda: False)
    other = next(iter(VideoReader(source)))[2]
    np.testing.assert_allclose(other, pixels, atol=2)  # OpenCV turns it by its own code
    monkeypatch.undo()
    copy(source, tmp_path / "out.mp4")
    assert VideoReader(tmp_path / "out.mp4").size == reader.size


@needs_av
def test_an_interrupted_copy_keeps_what_was_written(tmp_path):
    source = make(tmp_path / "in.mp4", times=range(0, 4000, 40))
    with (
        pytest.raises(KeyboardInterrupt),
        VideoReader(source) as reader,
        VideoWriter(tmp_path / "out.mp4", reader) as writer,
    ):
        for index, seconds, pixels in reader:
            writer.write(pixels, seconds)
            if index == 3:
                raise KeyboardInterrupt
    assert not reader.finished
    assert [index for index, _, _ in read(tmp_path / "out.mp4")] == [0, 1, 2, 3]
    times = [seconds for seconds, _ in sound_of(tmp_path / "out.mp4")]
    assert times[-1] < 0.16 and len(times) == 8  # the sound ends with the last frame
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_discarded_video_leaves_the_old_one(tmp_path, library):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with VideoWriter(target, fps=25) as writer:
        writer.write(frame())
        assert target.read_bytes() == b"old"
        writer.discard()
        writer.discard()
        with pytest.raises(ValueError, match="closed"):
            writer.write(frame())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_no_frame_no_file(tmp_path, library):
    with VideoWriter(tmp_path / "out.mp4", fps=25):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="it has no limit of file sizes")
def test_a_full_disk_leaves_nothing_and_the_error_names_the_file(tmp_path, library, capfd):
    import resource
    import signal

    noise = np.random.default_rng(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with (
            pytest.raises(OSError, match=r"out\.mp4") as caught,
            VideoWriter(tmp_path / "out.mp4", fps=25) as writer,
        ):
            for _ in range(100):
                writer.write(noise.integers(0, 255, (120, 160, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert ".tmp" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_folder_that_cannot_be_made(tmp_path, library):
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match=r"file.out\.mp4"),
        VideoWriter(tmp_path / "file" / "out.mp4", fps=25) as writer,
    ):
        writer.write(frame())


@needs_av
def test_a_file_that_cannot_be_started_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(video_av, "_ENCODER", "absent")
    with (
        pytest.raises(ValueError, match="it must be absent"),
        VideoWriter(tmp_path / "out.mp4", fps=25) as writer,
    ):
        writer.write(frame())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"path": "clip.gif"}, "path is clip.gif; it must end in .mp4, .m4v, .mov, .mkv"),
        ({"path": "clip"}, "path is clip; it must end in"),
        ({"fps": 0}, "fps is 0; it must be above 0"),
        ({"fps": -5}, "fps is -5; it must be above 0"),
        ({"fps": float("nan")}, "fps is nan; it must be above 0"),
        ({"fps": 2000}, "fps is 2000; it must be above 0 and at most 1000"),
        ({"fps": None}, "fps is None; it must be given"),
    ],
)
def test_writer_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        VideoWriter(**{"path": "clip.mp4", "fps": 25, **options})


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
        np.zeros((48, 66, 3), np.uint8),
    ],
    ids=["gray", "alpha", "float", "empty", "other size"],
)
def test_frames_that_do_not_fit(tmp_path, wrong):
    with VideoWriter(tmp_path / "out.mp4", fps=25) as writer:
        writer.write(frame())
        with pytest.raises(ValueError, match=r"frame.*it must be"):
            writer.write(wrong)
    assert len(read(tmp_path / "out.mp4")) == 1


def write_image(path):
    cv2.imwrite(str(path), frame())


def write_sound(path):
    import av

    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        coded = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), "s16", "mono")
        coded.rate, coded.pts = 44100, 0
        container.mux(sound.encode(coded))
        container.mux(sound.encode())


def write_beginning(path):
    with VideoWriter(path, fps=25) as writer:
        for number in range(20):
            writer.write(frame(number))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "name, write, message",
    [
        ("text.txt", lambda p: p.write_text("hello\n" * 99), "it must "),
        ("text.mp4", lambda p: p.write_text("hello\n" * 99), "it must "),
        ("empty.mp4", lambda p: p.write_bytes(b""), "it must be a video file that"),
        ("image.jpg", write_image, "it must hold video, not one image"),
        ("image.png", write_image, "it must hold video, not one image"),
        ("image.ppm", write_image, "it must hold video, not one image"),
        pytest.param("sound.m4a", write_sound, "it must ", marks=needs_av),
        ("beginning.mp4", write_beginning, "it must be a video file that"),
    ],
)
def test_files_that_are_no_videos(tmp_path, library, name, write, message, capfd):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as caught:
        VideoReader(tmp_path / name)
    assert name in str(caught.value)
    assert capfd.readouterr() == ("", "")  # nor do the libraries print anything


@pytest.mark.parametrize("source", ["absent.mp4", "."])
def test_no_such_file(library, source):
    with pytest.raises(FileNotFoundError, match=f"video is {source}; there is no such file"):
        VideoReader(source)


@needs_av
def test_damaged_parts_are_skipped(tmp_path):
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0)
    with VideoWriter(path, fps=25) as writer:
        for _ in range(60):
            writer.write(noise.integers(0, 255, (48, 64, 3), np.uint8))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    reader = VideoReader(path)
    found = list(reader)
    assert 40 < len(found) < 60 and reader.finished
    assert reader.num_damaged > 0


def test_opencv_is_quiet_in_a_process_of_its_own(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"\0" * 64 + b"no video" * 400)
    script = f"""
from pathlib import Path
from mrcnn.detection.video_opencv import FileDecoder
try:
    FileDecoder(Path({str(path)!r}), "broken.mp4")
except ValueError as error:
    print(error)
"""
    environment = {k: v for k, v in os.environ.items() if k != "OPENCV_FFMPEG_LOGLEVEL"}
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert ended.stdout.startswith("video is broken.mp4; it must be a video file")
    assert ended.stderr == ""


def test_webcams_that_do_not_exist(capfd):
    for number in (63, -1):
        with pytest.raises(ValueError, match=f"video is webcam {number}; it must be the number"):
            VideoReader(number)
    assert capfd.readouterr().err == ""


class FakeCapture:
    """A webcam of four frames."""

    def __init__(self, number):
        self.left, self.released = 4, False

    def isOpened(self):
        return True

    def read(self):
        self.left -= 1
        return (True, frame()[:, :, ::-1]) if self.left >= 0 else (False, None)

    def get(self, name):
        return 0.0

    def release(self):
        self.released = True


def test_a_webcam(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    with VideoReader(0) as reader:
        assert (reader.name, reader.fps, reader.size, reader.count) == (
            "webcam 0",
            None,
            (48, 64),
            None,
        )
        found = list(reader)
        assert not reader._decoder._capture.released
    assert reader._decoder._capture.released and reader.finished
    assert len(found) == 3  # the first one told the size
    assert found[0][1] == 0 and found[2][1] >= found[1][1] >= 0
    assert found[0][2][4, 4].tolist() == list(RED)


def test_the_hint_at_the_extra(tmp_path, without_av):
    with VideoWriter(tmp_path / "clip.mp4", fps=25) as writer:
        writer.write(frame())
    assert len(writer.notes) == 1
    assert "constant frame rate and no sound" in writer.notes[0]
    assert "pip install 'mrcnn-keras3[video]'" in writer.notes[0]


def test_av_is_looked_for_without_an_import(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert not video_av.is_installed()
    present = types.ModuleType("av")
    present.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "av", present)
    assert video_av.is_installed()
