"""The OpenAPI description against the service: schemathesis makes requests from it."""

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, settings  # noqa: E402
from schemathesis.checks import CHECKS  # noqa: E402

from mrcnn.service import ServedModel, create_app  # noqa: E402
from tests.service.fakes import FakeModel, photograph  # noqa: E402

# Any bytes fit the description of an upload, and most of them are no image.
LEFT_OUT = {"positive_data_acceptance"}
EXAMPLES = 150

schema = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(ServedModel(FakeModel(), "pets"))
)


@schemathesis.hook
def map_body(context, body):
    """Send an image in place of some of the bytes."""
    if isinstance(body, bytes) and len(body) % 2 == 0:
        return photograph()
    return body


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_what_the_description_says(case):
    checks = CHECKS.get_all() if hasattr(CHECKS, "get_all") else list(CHECKS)
    case.call_and_validate(checks=[check for check in checks if check.__name__ not in LEFT_OUT])
