"""The page behind the `type` of a problem: what its code means, for a developer who follows the link."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from app.core.errors import PROBLEMS, not_found
from app.joining import responses
from app.joining.no_store_route import NoStoreRoute

router = APIRouter(route_class=NoStoreRoute)


@router.get("/problems/{slug}", include_in_schema=False)
async def show_problem(slug: Annotated[str, Path(max_length=64)]) -> Response:
    """Return one readable page (RFC 9457 section 3.1.1). Raises a 404 if no problem has this code."""
    if slug not in PROBLEMS:
        raise not_found("problem")
    status, title = PROBLEMS[slug]
    sentence = (
        f"The API answers with the code {slug} and the HTTP status {status}."
        " The response's `detail` says what happened and what the person can do."
    )
    return responses.message_page(title, sentence, "", "en")
