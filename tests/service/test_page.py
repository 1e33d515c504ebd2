"""The page: what it is made of, and how a user works with it in headless Chromium."""

import html
import json
import re
import time

import cv2
import numpy as np
import pytest

from mrcnn.service import Limits, ServedModel, create_app
from mrcnn.service.page import page_files
from tests.service.chromium import Chromium, find_chromium
from tests.service.fakes import FakeModel, FakeRefiner, photograph, zip_file

PROGRAM = find_chromium()
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


def test_everything_comes_from_the_server(client):
    open_client = client()
    page = open_client.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    names = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert [name for name in names if name[:5] != "data:"] == [
        "page.css",
        "page.js",
        "openapi.json",
    ]
    for name in ("page.css", "page.js", "openapi.json"):
        answer = open_client.get(f"/{name}")
        assert answer.status_code == 200
        assert not re.search(r"https?://(?!127\.0\.0\.1)", answer.text)
    assert not re.search(r"<[^>]* (style|on\w+)=", page.text)
    assert open_client.head("/").status_code == 200


def test_names_of_classes_are_harmless():
    model = FakeModel()
    model.class_names = ["BG", "</script><script>alert(1)</script>", "a & b"]
    text = page_files(ServedModel(model, "<b>pets"), Limits())["/"].content
    assert text.count("<script") == 2 and "alert(1)</script>" not in text
    assert "<b>&lt;b&gt;pets</b>" in text and html.escape("a & b") in text
    settings = json.loads(re.search(r'id="settings">(.*?)</script>', text)[1])
    assert settings["classes"] == model.class_names
    assert settings["colors"][:2] == ["#1f8fff", "#ff7a1a"]


@pytest.mark.parametrize(("refiner", "has_switch"), [(None, False), (FakeRefiner(), True)])
def test_the_switch_is_there_where_a_refiner_is(client, refiner, has_switch):
    assert ('role="switch"' in client(refiner).get("/").text) == has_switch


def test_text_has_contrast():
    """The colors of text and background of both schemes, by WCAG's formula."""
    from mrcnn.service.page import _text

    schemes = re.findall(r":root \{(.*?)\}", _text("page.css"), re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        pairs = [("ink", "paper"), ("ink", "panel"), ("soft", "paper"), ("soft", "panel")]
        pairs += [("soft", "accent-soft"), ("ink", "accent-soft"), ("accent", "paper")]
        pairs += [("on-accent", "accent"), ("bad", "bad-soft")]
        low = {pair: contrast(*(colors[name] for name in pair)) for pair in pairs}
        assert {pair: value for pair, value in low.items() if value < 4.5} == {}


def contrast(one, other):
    """The contrast of two colors, 1 to 21."""

    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return parts @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


# ---- in a browser ------------------------------------------------------------------------------

OBJECTS = "[...document.querySelectorAll('#objects button')].map(one => one.textContent)"
ERROR = "document.getElementById('error').textContent"
# The color at a point of the canvas, in 0..1 of its sides.
COLOR = """(() => {{
  const canvas = document.getElementById("masks");
  const pixel = canvas.getContext("2d").getImageData(
    canvas.width * {x}, canvas.height * {y}, 1, 1);
  return [...pixel.data];
}})()"""
BLUE, ORANGE = [0x1F, 0x8F, 0xFF], [0xFF, 0x7A, 0x1A]


@pytest.fixture(scope="module")
def address():
    """A server with the fake model in a thread of this process."""
    import socket
    import threading

    import uvicorn

    served = ServedModel(FakeModel(), "pets", 0.5, FakeRefiner(), "sharp")
    app = create_app(served, Limits(max_bytes=2_000_000))
    config = uvicorn.Config(app, log_config=None, ws="none")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Chromium(PROGRAM, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "räder 1.png"
    path.write_bytes(photograph(200, 300))
    return path


def show(chromium, address, photo, **window):
    """Open the page and a photograph."""
    chromium.open(address, **window)
    chromium.choose_file(photo)
    chromium.wait(f"{OBJECTS}.length")


def center_of(chromium, x, y):
    """A point of the canvas in pixels of the window."""
    box = chromium.evaluate(
        "(b => [b.left, b.top, b.width, b.height])"
        "(document.getElementById('masks').getBoundingClientRect())"
    )
    return box[0] + x * box[2], box[1] + y * box[3]


def downloaded(chromium, name):
    """The content of a downloaded file."""
    path = chromium.folder / "downloads" / name
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, list(path.parent.glob("*"))
        time.sleep(0.05)
    return path.read_bytes()


@needs_chromium
@pytest.mark.slow
def test_a_photograph_shows_its_objects(chromium, address, photo):
    show(chromium, address, photo)
    assert chromium.evaluate(OBJECTS) == ["cat0.90"]
    inside, outside = (chromium.evaluate(COLOR.format(x=v, y=v)) for v in (0.3, 0.8))
    assert np.abs(np.array(inside[:3]) - BLUE).max() <= 2 and inside[3] == 115  # 0.45
    assert outside[3] == 0
    assert chromium.evaluate("document.getElementById('drop').hidden")
    assert chromium.problems() == []


@needs_chromium
@pytest.mark.slow
def test_the_threshold_moves_by_keyboard(chromium, address, photo):
    show(chromium, address, photo)
    chromium.evaluate("document.getElementById('threshold').focus()")
    for _ in range(20):
        chromium.press("ArrowLeft", 37)
    assert chromium.evaluate("document.getElementById('threshold-value').textContent") == "0.30"
    chromium.wait(f"{OBJECTS}.length === 2")  # the mask of the second is refined first
    assert chromium.evaluate("document.getElementById('refine').checked")
    assert chromium.evaluate(OBJECTS) == ["cat0.90", "dog0.30"]
    dog = chromium.evaluate(COLOR.format(x=0.8, y=0.8))
    assert np.abs(np.array(dog[:3]) - ORANGE).max() <= 2
    assert "cat 0.90, dog 0.30" in chromium.evaluate(
        "document.getElementById('masks').getAttribute('aria-label')"
    )
    chromium.press("End", 35)
    assert chromium.evaluate(OBJECTS) == []
    assert not chromium.evaluate("document.getElementById('none').hidden")


@needs_chromium
@pytest.mark.slow
def test_every_control_is_reached_by_tab(chromium, address, photo):
    show(chromium, address, photo)
    seen = []
    for _ in range(8):
        chromium.press("Tab", 9)
        seen.append(
            chromium.evaluate("document.activeElement.id || document.activeElement.tagName")
        )
    expected = ["threshold", "refine", "BUTTON", "png", "json", "another", "SUMMARY"]
    assert [one for one in seen if one != "BODY"][:7] == expected


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("phone", [False, True])
def test_pointing_at_an_object_names_it(chromium, address, photo, phone):
    width, height = (390, 844) if phone else (1280, 800)
    show(chromium, address, photo, width=width, height=height, phone=phone)
    point = chromium.tap if phone else chromium.move
    point(*center_of(chromium, 0.3, 0.3))
    chromium.wait("!document.getElementById('tip').hidden")
    assert chromium.evaluate("document.getElementById('tip').textContent") == "cat 0.90"
    assert chromium.evaluate("document.querySelectorAll('.chosen').length") == 1
    chromium.press("Escape", 27)
    assert chromium.evaluate("document.querySelectorAll('.chosen').length") == 0
    point(*center_of(chromium, 0.8, 0.3))
    assert chromium.evaluate("document.getElementById('tip').hidden")
    # Nothing is wider than the window.
    assert chromium.evaluate("document.documentElement.scrollWidth") == width


@needs_chromium
@pytest.mark.slow
def test_refinement_is_switched_by_keyboard(chromium, address, photo):
    show(chromium, address, photo)
    edge = COLOR.format(x=0.3, y=0.4985)  # refined masks end a pixel earlier
    chromium.wait(f"{edge}[3] === 0")
    chromium.evaluate("document.getElementById('refine').focus()")
    chromium.press(" ", 32, " ")
    chromium.wait(f"{edge}[3] > 0")
    chromium.press(" ", 32, " ")
    chromium.wait(f"{edge}[3] === 0")
    assert chromium.problems() == []


@needs_chromium
@pytest.mark.slow
def test_downloads_are_what_is_shown(chromium, address, photo):
    show(chromium, address, photo)
    chromium.evaluate("document.getElementById('json').click()")
    found = json.loads(downloaded(chromium, "räder 1_detections.json"))
    assert (found["width"], found["height"], found["threshold"]) == (300, 200, 0.5)
    (cat,) = found["objects"]
    assert (cat["file_name"], cat["category_name"]) == ("räder 1.png", "cat")
    assert sorted(cat["segmentation"]) == ["counts", "size"] and "mask" not in cat
    chromium.evaluate("document.getElementById('png').click()")
    drawn = downloaded(chromium, "räder 1_detected.png")
    assert cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR).shape == (200, 300, 3)


@needs_chromium
@pytest.mark.slow
def test_errors_are_shown_and_passed(chromium, address, photo, tmp_path):
    chromium.open(address)
    wrong = tmp_path / "photo.jpg"
    wrong.write_bytes(zip_file())
    chromium.choose_file(wrong)
    chromium.wait(ERROR)
    text = chromium.evaluate(ERROR)
    assert text.startswith("photo.jpg is not an image that can be decoded: its content is none of")
    large = tmp_path / "large.jpg"
    large.write_bytes(b"\0" * 2_500_000)
    chromium.choose_file(large)
    message = "The file has 2.5 MB; it must have at most 2 MB."
    chromium.wait(f"{ERROR} === {json.dumps(message)}")
    chromium.choose_file(photo)
    chromium.wait(f"{OBJECTS}.length")
    assert chromium.evaluate("document.getElementById('error').hidden")


@needs_chromium
@pytest.mark.slow
def test_an_image_that_the_browser_cannot_decode_is_drawn_by_the_server(
    chromium, address, tmp_path
):
    path = tmp_path / "scan.tif"
    path.write_bytes(photograph(200, 300, ".tif"))
    show(chromium, address, path)
    chromium.wait("document.getElementById('photo').naturalWidth === 300")
    assert chromium.evaluate(OBJECTS) == ["cat0.90"]
    assert chromium.problems() == []
