"""Whoever follows the `type` of a problem finds one readable page."""

from urllib.parse import urlsplit

from app.core.errors import PROBLEMS
from tests.support.service import RunningService


async def test_the_type_of_a_problem_leads_to_a_page_that_names_its_code(service: RunningService) -> None:
    refused = await service.get("member", "/api/events/00000000-0000-4000-8000-000000000000")
    assert refused.json()["code"] == "not-found"
    page = await service.get(None, urlsplit(refused.json()["type"]).path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "not-found" in page.text
    assert PROBLEMS["not-found"][1] in page.text


async def test_every_code_has_a_page_and_nothing_else_has(service: RunningService) -> None:
    for slug in PROBLEMS:
        assert (await service.get(None, f"/problems/{slug}")).status_code == 200
    assert (await service.get(None, "/problems/no-such-code")).status_code == 404
