"""Checks of error responses."""

from typing import Any

import httpx


def check_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that the response is a problem document (RFC 9457) with this status and code, and return the document."""
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["title"]
    assert problem["detail"]
    assert len(problem["trace_id"]) == 32
    return problem
