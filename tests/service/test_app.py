"""`/detect` and its neighbors: answers, options, and each limit with its status and sentence."""

import asyncio
import contextlib
import json
import re
import sys

import cv2
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mrcnn.drawing import rendering
from mrcnn.geometry.rle import decode_rle
from mrcnn.service.detection import ServedModel
from tests.service.fakes import FakeRefiner, photograph, png_of_size, result_of, zip_file

PNG = photograph(40, 60)


def problem(response):
    """The status and the sentence of a refused request."""
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert list(content) == ["error"] and "\n" not in content["error"]
    return response.status_code, content["error"]


# ---- answers ---------------------------------------------------------------------------------


def test_the_answer_is_in_cocos_format(client):
    response = client().post("/detect", files={"image": ("räder/ab\\日本 x.png", PNG)})
    found = response.json()
    assert response.status_code == 200 and response.headers["cache-control"] == "no-store"
    assert found.pop("seconds") >= 0
    mask = found["objects"][0].pop("segmentation")
    assert found == {
        "model": "pets",
        "width": 60,
        "height": 40,
        "threshold": 0.5,
        "refined": False,
        "objects": [
            {
                "image_id": 0,
                "file_name": "日本 x.png",
                "category_id": 1,
                "category_name": "cat",
                "bbox": [0, 0, 30, 20],
                "score": 0.9,
                "area": 600,
            }
        ],
    }
    assert decode_rle(mask)[:20, :30].all() and decode_rle(mask).sum() == 600


BODIES = {
    "field": {"files": {"image": ("a.png", PNG)}},
    "other field": {"files": {"photo": ("a.png", PNG)}},
    "no file name": {"files": {"image": (None, PNG)}},
    "beside text": {"files": {"image": ("a.png", PNG)}, "data": {"note": "x" * 2000}},
    "body": {"content": PNG},
    "image type": {"content": PNG, "headers": {"content-type": "image/png"}},
    "wrong type": {"content": PNG, "headers": {"content-type": "text/plain; charset=x"}},
    "curl --data-binary": {
        "content": PNG,
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    },
    "chunked": {"content": iter([PNG[:100], PNG[100:]])},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_ways_to_send_an_image(client, body):
    response = client().post("/detect", **body)
    assert response.status_code == 200, response.text
    assert (response.json()["height"], response.json()["width"]) == (40, 60)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["cat"]),
        ("?threshold=0", ["cat", "dog"]),
        ("?threshold=0.3", ["cat", "dog"]),
        ("?threshold=0.31", ["cat"]),
        ("?threshold=1", []),
    ],
)
def test_the_threshold(client, query, names):
    found = client().post(f"/detect{query}", content=PNG).json()
    assert [one["category_name"] for one in found["objects"]] == names


@pytest.mark.parametrize("kind", ["polygon", "none"])
def test_masks_in_other_forms(client, kind):
    (cat,) = client().post(f"/detect?segmentation={kind}", content=PNG).json()["objects"]
    expected = {"polygon": [[0, 0, 0, 20, 30, 20, 30, 0]]}.get(kind)
    assert cat.get("segmentation") == expected


def test_the_drawing_is_that_of_the_command_line(client):
    response = client().post("/detect?output=png&threshold=0", content=PNG)
    assert response.headers["content-type"] == "image/png"
    drawn = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    image = cv2.imdecode(np.frombuffer(PNG, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    expected = rendering.draw_instances(
        image, result_of(image), class_names=["BG", "cat", "dog"], color_by="class"
    )
    np.testing.assert_array_equal(drawn, expected)


def test_the_image_is_upright(client):
    jpeg = photograph(40, 60, ".jpg")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    found = client().post("/detect", content=turned).json()
    assert (found["height"], found["width"]) == (60, 40)


@pytest.mark.parametrize("query", ["", "?refine=true"])
def test_masks_are_refined_unless_a_request_leaves_it_out(client, model, query):
    found = client(FakeRefiner()).post(f"/detect{query}", content=PNG).json()
    assert found["refined"] and [one["area"] for one in found["objects"]] == [570]
    assert client().post("/detect", content=PNG).json()["refined"] is False
    assert client().post("/detect?refine=false", content=PNG).status_code == 200


def test_refinement_is_for_the_objects_that_are_returned(client, model):
    open_client = client(FakeRefiner())
    plain, refined = (
        open_client.post(f"/detect?threshold=0&refine={refine}", content=PNG).json()
        for refine in ("false", "true")
    )
    assert [found["refined"] for found in (plain, refined)] == [False, True]
    assert [one["area"] for one in plain["objects"]] == [600, 600]
    assert [one["area"] for one in refined["objects"]] == [570, 570]
    open_client.post("/detect?threshold=0.7&refine=true", content=PNG)
    assert [threshold for _, threshold in model.calls] == [0.0, 0.05, 0.7]


# ---- refusals --------------------------------------------------------------------------------

JPEG = photograph(40, 60, ".jpg")
BAD_IMAGES = {
    "a zip renamed to .jpg": (
        zip_file(),
        "x.jpg is not an image that can be decoded: its content is none of JPEG, PNG, ",
    ),
    "a truncated JPEG": (JPEG[: len(JPEG) // 2], "x.jpg is not an image that can be decoded: "),
    "a JPEG's beginning": (JPEG[:30], "x.jpg is not an image that can be decoded: "),
    "a truncated PNG": (PNG[:200], "x.jpg is not an image that can be decoded: "),
    "nothing": (b"", "image is empty; it must be the content of an image file, as body or in "),
    "text": (b"hello", "x.jpg is not an image that can be decoded: its content is none of "),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "x.jpg is not an image that can be decoded: "),
    "a side of 0": (png_of_size(0, 5), "x.jpg is not an image that can be decoded: "),
    "200 megapixels": (
        png_of_size(20_000, 10_000),
        "x.jpg has 20,000 x 10,000 pixels; it must have at most 50,000,000 in all",
    ),
    "a side of a billion": (
        png_of_size(10**9, 10**9),
        "x.jpg has 1,000,000,000 x 1,000,000,000 pixels; it must have at most 50,000,000 in all",
    ),
    "an image that the model refuses": (
        photograph(13, 20),
        "images[0] has 13 rows; it must have another number",
    ),
}


@pytest.mark.parametrize(("data", "text"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_images(client, data, text):
    status, message = problem(client().post("/detect", files={"image": ("x.jpg", data)}))
    assert status == 422 and message.startswith(text), message


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("threshold=2", "threshold is '2'; it must be less than or equal to 1"),
        ("threshold=-0.1", "threshold is '-0.1'; it must be greater than or equal to 0"),
        ("threshold=high", "threshold is 'high'; it must be a valid number"),
        ("threshold=nan", "threshold is 'nan'; it must be a finite number"),
        ("threshold=", "threshold is ''; it must be a valid number"),
        ("refine=perhaps", "refine is 'perhaps'; it must be a valid boolean"),
        ("output=gif", "output is 'gif'; it must be 'json' or 'png'"),
        ("segmentation=x", "segmentation is 'x'; it must be 'rle', 'polygon' or 'none'"),
        (
            "treshold=0.3",
            "option is treshold; it must be one of threshold, refine, segmentation, output",
        ),
        ("%1b%5b2J=0", "option is \\x1b[2J; it must be one of "),
        (
            "refine=true",
            "refine is true; it must be false, since the server has no refiner (--refine)",
        ),
    ],
)
def test_wrong_options(client, query, message):
    status, text = problem(client().post(f"/detect?{query}", content=PNG))
    assert status == 422 and text.startswith(message), text


FORM = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n%s\r\n--b--\r\n'
BAD_FORMS = {
    "no boundary": ("", FORM % PNG, "its content type names no boundary"),
    "another boundary": ("c", FORM % PNG, "body is no form"),
    "a boundary too long": ("b" * 300, FORM % PNG, "body is no form"),
    "no end": ("b", (FORM % PNG)[:-20], "its end is missing"),
    "no form": ("b", b"x" * 50, "body is no form"),
    "empty": ("b", b"", "body is no form"),
    "no parts": ("b", b"--b--\r\n", "form has 0 images"),
    "text alone": (
        "b",
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nx\r\n--b--\r\n',
        "form has 0 images ('note'); it must have one, in the field 'image'",
    ),
    "two images": ("b", (FORM % PNG)[:-6] + b"\r\n" + FORM % PNG, "form has 2 images"),
    "no disposition": ("b", b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n", "form has 0 images"),
    "an endless header": ("b", b"--b\r\nX: " + b"y" * 9000, "body is no form"),
}


@pytest.mark.parametrize(("boundary", "body", "text"), BAD_FORMS.values(), ids=BAD_FORMS)
def test_bad_forms(client, boundary, body, text):
    kind = "multipart/form-data" + (f"; boundary={boundary}" if boundary else "")
    response = client().post("/detect", content=body, headers={"content-type": kind})
    status, message = problem(response)
    assert status == 422 and text in message, message


def test_bytes_are_limited(client):
    limited = client(max_bytes=len(PNG))
    assert limited.post("/detect", files={"image": ("a.png", PNG)}).status_code == 200
    assert limited.post("/detect", content=PNG).status_code == 200
    more = PNG + b"\0" * 70_000
    message = f"upload is {len(more):,} bytes; it must be at most {len(PNG):,}"
    assert problem(limited.post("/detect", content=more)) == (413, message)
    status, message = problem(limited.post("/detect", content=iter([more, more])))
    assert status == 413 and re.match(r"upload is [\d,]+ bytes; it must", message)
    # A little more than the limit, within what the headers of a form may take.
    response = limited.post("/detect", files={"image": ("a.png", PNG + b"\0")})
    message = f"upload is {len(PNG) + 1:,} bytes; it must be at most {len(PNG):,}"
    assert problem(response) == (413, message)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/detect", 405, "method is 'GET'; it must be POST"),
        ("DELETE", "/healthz", 405, "method is 'DELETE'; it must be GET"),
        (
            "GET",
            "/docs",
            404,
            "path is '/docs'; it must be one of /, /detect, /healthz, /metrics, ",
        ),
        ("GET", "/detect/", 404, "path is '/detect/'; it must be one of "),
        ("GET", "/../etc/passwd", 404, "path is "),
        ("GET", "/%1b%5b2J", 404, "path is '/\\x1b[2J'; it must be one of "),
    ],
)
def test_other_addresses(client, method, path, status, text):
    response = client().request(method, path)
    assert problem(response)[0] == status and problem(response)[1].startswith(text)


def test_an_error_of_the_server(client):
    status, message = problem(client().post("/detect", content=photograph(17, 20)))
    assert (status, message) == (500, "RuntimeError; the server's log says more")


# ---- several requests at the same time -------------------------------------------------------


def together(app, work):
    """Run `work(client)` with a client of an application that has started."""

    async def run():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with app.router.lifespan_context(app):
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await work(client)

    return asyncio.run(run())


async def until(condition):
    """Wait until a condition is true."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never true")


def begin(client, count, query=""):
    """Begin uploads."""
    return [asyncio.create_task(client.post(f"/detect{query}", content=PNG)) for _ in range(count)]


def test_images_of_several_requests_share_a_call(make_app, model):
    async def work(client):
        model.gate.clear()
        tasks = begin(client, 1)
        await until(lambda: model.entered == 1)
        tasks += begin(client, 5)
        await asyncio.sleep(0.5)
        model.gate.set()
        return await asyncio.gather(*tasks)

    responses = together(make_app(batch_size=3), work)
    assert [response.status_code for response in responses] == [200] * 6
    counts = [count for count, _ in model.calls]
    # Three where the machine has decoded them in that time.
    assert counts[0] == 1 and sum(counts) == 6 and 2 <= max(counts) <= 3


def test_an_image_waits_for_others(make_app, model):
    async def work(client):
        return await asyncio.gather(*[client.post("/detect", content=PNG) for _ in range(4)])

    responses = together(make_app(batch_size=4, batch_wait=10.0), work)
    assert [response.status_code for response in responses] == [200] * 4
    assert [count for count, _ in model.calls] == [4]


def test_refined_images_have_a_call_of_their_own(make_app, model):
    async def work(client):
        model.gate.clear()
        tasks = begin(client, 1, "?refine=0")
        await until(lambda: model.entered == 1)
        for query in ("?refine=1", "?refine=1&threshold=0.7", "?refine=0", ""):
            tasks += begin(client, 1, query)
        await asyncio.sleep(0.2)
        model.gate.set()
        return await asyncio.gather(*tasks)

    responses = together(make_app(FakeRefiner()), work)
    assert [response.json()["refined"] for response in responses] == [
        False,
        True,
        True,
        False,
        True,
    ]
    images = {}
    for count, threshold in model.calls:
        images[threshold] = images.get(threshold, 0) + count
    assert images == {0.0: 2, 0.5: 2, 0.7: 1}


def test_an_image_that_fails_does_not_fail_the_others_of_its_call(make_app, model):
    async def work(client):
        images = [PNG, photograph(13, 20), PNG]
        return await asyncio.gather(*[client.post("/detect", content=image) for image in images])

    responses = together(make_app(batch_size=3, batch_wait=10.0), work)
    assert [response.status_code for response in responses] == [200, 422, 200]
    assert [count for count, _ in model.calls] == [3, 1, 1, 1]


def test_too_many_requests(make_app, model):
    async def work(client):
        model.gate.clear()
        tasks = begin(client, 2)
        await until(lambda: model.entered == 1)
        refused = await client.post("/detect", content=PNG)
        facts = await client.get("/healthz")
        model.gate.set()
        answers = await asyncio.gather(*tasks)
        return answers, refused, facts, await client.post("/detect", content=PNG)

    admitted, refused, facts, later = together(make_app(max_requests=2), work)
    assert [response.status_code for response in (*admitted, facts, later)] == [200] * 4
    message = "number of requests is 3; it must be at most 2 at the same time: try again in a few "
    assert problem(refused) == (429, message + "seconds")
    assert refused.headers["retry-after"] == "2"


def test_an_answer_that_takes_too_long(make_app, model):
    async def work(client):
        model.gate.clear()
        late = await client.post("/detect", content=PNG)
        model.gate.set()
        return late, await client.post("/detect", content=PNG)

    late, next_one = together(make_app(answer_seconds=0.2), work)
    message = "answer took more than 0.2 s; it must be ready within that time: try again later"
    assert problem(late) == (503, message + ", or with a smaller image")
    assert next_one.status_code == 200


def test_an_upload_that_takes_too_long(make_app):
    async def slow():
        yield PNG[:100]
        await asyncio.sleep(5)
        yield PNG[100:]

    async def work(client):
        return await client.post("/detect", content=slow())

    response = together(make_app(upload_seconds=0.2), work)
    message = "upload is incomplete after 0.2 s; it must arrive within that time"
    assert problem(response) == (503, message)
    assert response.headers["connection"] == "close"


# ---- the disk --------------------------------------------------------------------------------

_written: list[str] | None = None
_is_noting = False


def _note_written(event, arguments):
    if _written is not None and event == "open":
        path, mode, flags = arguments
        if (mode and set(mode) & set("wax+")) or (flags or 0) & 0o3:
            _written.append(str(path))


@contextlib.contextmanager
def written_files():
    """Yield the list of files that are opened for writing inside the block."""
    global _written, _is_noting
    if not _is_noting:  # it cannot be removed; outside the block it does nothing
        sys.addaudithook(_note_written)
        _is_noting = True
    _written = []
    try:
        yield _written
    finally:
        _written = None


@pytest.mark.parametrize("kind", ["form", "body"])
def test_uploads_never_touch_the_disk(client, kind, tmp_path):
    large = cv2.imencode(".bmp", np.zeros((1000, 1200, 3), np.uint8))[1].tobytes()
    assert len(large) > 3_000_000
    open_client = client()
    with written_files() as written:
        (tmp_path / "noticed").write_text("x")
        body = {"content": large} if kind == "body" else {"files": {"image": ("a.bmp", large)}}
        response = open_client.post("/detect?output=png", **body)
    assert response.status_code == 200
    assert written == [str(tmp_path / "noticed")]


# ---- facts -----------------------------------------------------------------------------------


def test_health(client):
    health = client(FakeRefiner()).get("/healthz").json()
    version = health.pop("version")
    assert re.match(r"3\.\d", version)
    assert health == {
        "status": "ok",
        "model": "pets",
        "classes": ["cat", "dog"],
        "refiner": "sharp",
    }


def test_metrics(client):
    open_client = client()
    open_client.post("/detect?threshold=0", content=PNG)
    open_client.post("/detect", content=b"x")
    open_client.get("/nowhere")
    response = open_client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert samples["mrcnn_requests_total", "/detect", "200"] == 1
    assert samples["mrcnn_requests_total", "/detect", "422"] == 1
    assert samples["mrcnn_requests_total", "other", "404"] == 1
    assert samples["mrcnn_request_seconds_count", "/detect"] == 2
    assert samples["mrcnn_objects_total",] == 2
    assert samples["mrcnn_batch_images_sum",] == samples["mrcnn_batch_images_count",] == 1
    assert samples["mrcnn_uploads_under_way",] == 0
    assert samples["mrcnn_detect_seconds_count",] == 1


def test_openapi_describes_what_is_answered(client):
    schema = client().get("/openapi.json").json()
    assert sorted(schema["paths"]) == ["/detect", "/healthz", "/metrics"]
    detect = schema["paths"]["/detect"]["post"]
    assert sorted(detect["responses"]) == ["200", "413", "422", "429", "500", "503"]
    problem_of = {"$ref": "#/components/schemas/Problem"}
    for status in ("413", "422", "429", "500", "503"):
        content = detect["responses"][status]["content"]
        assert content == {"application/json": {"schema": problem_of}}
    names = [parameter["name"] for parameter in detect["parameters"]]
    assert names == ["threshold", "refine", "segmentation", "output"]
    assert "HTTPValidationError" not in json.dumps(schema)


@pytest.mark.parametrize(
    ("refiner", "values", "default"), [(None, [False], False), (FakeRefiner(), None, True)]
)
def test_openapi_says_whether_masks_can_be_refined(client, refiner, values, default):
    schema = client(refiner).get("/openapi.json").json()
    parameters = schema["paths"]["/detect"]["post"]["parameters"]
    (refine,) = [one for one in parameters if one["name"] == "refine"]
    assert (refine["schema"].get("enum"), refine["schema"]["default"]) == (values, default)


@pytest.mark.parametrize(
    ("own", "expected"), [(None, {}), ("general", {"refiner": None})], ids=["none", "its own"]
)
def test_the_refiner_of_the_model_runs_only_if_it_is_the_servers(own, expected):
    given = []

    class Model:
        class_names = ("BG", "a")
        refiner = own

        def detect(self, images, *, rle, **options):
            given.append(options)
            return [None for _ in images]

    served = ServedModel(Model(), "x")
    served.warm_up()
    served.detect([np.zeros((8, 8, 3), np.uint8)])
    assert given == [expected, expected]
