"""Events of accounts, which auth hands over to the state service."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_auth.events import relaying
from svgx_common.contract.auth import (
    DELETE_USER,
    RESTORE_USER,
    UPDATE_USER,
    UpdateUserRequest,
    UserRequest,
)
from svgx_common.contract.errors import Conflict, Unavailable
from svgx_common.contract.operation import Empty
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.events import (
    RECORD_EVENTS,
    DomainEvent,
    RecordEventsRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_devstack import DevStack
from tests.integration.auth.conftest import ADMIN_PASSWORD
from tests.integration.auth.test_accounts import caller_of, create, login


class Recorder:
    """A receiver of events in place of the state service. It keeps all batches."""

    def __init__(self) -> None:
        self.refuses_new = False
        """If True, `record` refuses each batch with an event that has not arrived before."""
        self.received: list[DomainEvent] = []
        self._arrived = asyncio.Condition()

    async def record(self, request: RecordEventsRequest, _: Call) -> Empty:
        """Keep a batch. Raise `Unavailable` if `refuses_new` is set and the batch contains a new event."""
        is_new = any(each not in self.received for each in request.events)
        async with self._arrived:
            self.received += request.events
            self._arrived.notify_all()
        if self.refuses_new and is_new:
            raise Unavailable
        return Empty()

    async def wait_for(self, user_id: str, count: int) -> list[DomainEvent]:
        """Wait until at least `count` events of an account have arrived, and return all its events."""

        def found() -> list[DomainEvent]:
            return [each for each in self.received if each.entity_id == user_id]

        async with asyncio.timeout(60), self._arrived:
            await self._arrived.wait_for(lambda: len(found()) >= count)
        return found()


@pytest.fixture
async def recorder(
    backing: DevStack, service: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Recorder]:
    """A recorder that answers in place of the state service.

    Auth repeats an unanswered request after a tenth of the time limit, but at the earliest after 1 s. The test sets a
    longer limit, with which no request is repeated.
    """
    monkeypatch.setattr(relaying, "HAND_OVER_SECONDS", 30.0)
    recorder = Recorder()
    bus = await Bus.connect(backing.nats_url("state"), "state", secrets.token_hex(6))
    responder = Responder(bus, "0")
    responder.answer(RECORD_EVENTS, recorder.record)
    try:
        await responder.join()
        await bus.settle()
        yield recorder
        await responder.drain()
    finally:
        await bus.close()


async def test_changes_of_an_account_are_handed_over_in_their_order_without_personal_data(
    bus: Bus, recorder: Recorder
) -> None:
    """A batch is sent again if it was refused. Proves R-EVENT-1, R-EVENT-2 and R-EVENT-3."""
    signed_in = await login(bus, "root", ADMIN_PASSWORD)
    caller = caller_of(signed_in)
    # Refuse each batch with new events, because the next batch might contain only events of an earlier test.
    recorder.refuses_new = True
    user = await create(bus)
    await recorder.wait_for(user.id, 2)
    recorder.refuses_new = False
    request = UserRequest(user_id=user.id)
    update = UpdateUserRequest(user_id=user.id, role=Role.VIEWER)
    await bus.ask(UPDATE_USER, update, caller=caller)
    await bus.ask(DELETE_USER, request, caller=caller)
    await bus.ask(RESTORE_USER, request, caller=caller)
    first, again, *later = await recorder.wait_for(user.id, 5)
    assert first == again
    assert [(each.type, each.data) for each in (first, *later)] == [
        ("user.created", {"user_id": user.id, "role": "editor"}),
        ("user.updated", {"user_id": user.id, "role": "viewer", "disabled": False}),
        ("user.deleted", {"user_id": user.id}),
        ("user.restored", {"user_id": user.id}),
    ]
    assert {each.actor for each in later} == {caller.user_id}
    for each in recorder.received:
        assert user.username not in each.model_dump_json()
        assert user.email not in each.model_dump_json()


async def test_update_that_changes_nothing_has_no_event(bus: Bus, recorder: Recorder) -> None:
    """Proves R-EVENT-1: an update to the current values has no event, but a password reset by an admin has one."""
    caller = caller_of(await login(bus, "root", ADMIN_PASSWORD))
    user = await create(bus)
    same = UpdateUserRequest(
        user_id=user.id, username=user.username, email=user.email, role=user.role, disabled=False
    )
    await bus.ask(UPDATE_USER, same, caller=caller)
    reset = UpdateUserRequest(user_id=user.id, password="nine paper boats at dawn")
    await bus.ask(UPDATE_USER, reset, caller=caller)
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id), caller=caller)
    events = await recorder.wait_for(user.id, 3)
    assert [each.type for each in events] == ["user.created", "user.updated", "user.deleted"]


async def test_refused_change_of_an_account_has_no_event(bus: Bus, recorder: Recorder) -> None:
    """Proves R-EVENT-1: a change to a taken name is refused, and causes no event."""
    taken, user = await create(bus), await create(bus)
    await recorder.wait_for(user.id, 1)
    caller = caller_of(await login(bus, "root", ADMIN_PASSWORD))
    with pytest.raises(Conflict):
        await bus.ask(
            UPDATE_USER, UpdateUserRequest(user_id=user.id, username=taken.username), caller=caller
        )
    later = await create(bus)
    await recorder.wait_for(later.id, 1)
    assert {each.type for each in recorder.received if each.entity_id == user.id} == {
        "user.created"
    }
