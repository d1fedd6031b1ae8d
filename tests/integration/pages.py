"""Read all pages of a list."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar


class Page(Protocol):
    """A page of a list."""

    @property
    def next(self) -> str | None:
        """The cursor of the next page; None on the last page."""


AnyPage = TypeVar("AnyPage", bound=Page)


async def all_pages(
    request_page: Callable[[str | None], Awaitable[AnyPage]],
) -> AsyncIterator[AnyPage]:
    """Yield the pages of a list in their order. `request_page` takes a cursor, or None for the first page."""
    page = await request_page(None)
    yield page
    while page.next is not None:
        page = await request_page(page.next)
        yield page
