"""Circuit breakers, with a clock that the test controls."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from svgx_common.contract import auth, collab, oidc, ratelimits, state
from svgx_common.contract.errors import (
    Conflict,
    DeadlineExceeded,
    Internal,
    Invalid,
    NotFound,
    Overloaded,
    SvgxError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from svgx_common.contract.live import undo
from svgx_common.contract.live.element_changes import CHANGE_ELEMENTS
from svgx_common.contract.live.locks import LOCK_OBJECT
from svgx_common.contract.operation import Operation
from svgx_common.contract.policy import Pool
from svgx_common.contract.storage.versions import RESTORE_VERSION
from svgx_common.messaging.bus import BusUnreachable, NoResponders
from svgx_gateway.http.circuit_breaker import (
    FAILURE_THRESHOLD,
    PAUSE_SECONDS,
    CircuitBreaker,
    CircuitBreakers,
)


class BreakerWithClock:
    """A circuit breaker and its clock."""

    def __init__(self, pool: Pool = Pool.QUICK) -> None:
        self.now = 1000.0
        self.breaker = CircuitBreaker("test", lambda: self.now, pool=pool)

    def attempt(self, error: BaseException | None = None) -> BaseException | None:
        """Run one request that raises `error`. Return the exception that its caller gets."""
        try:
            with self.breaker.attempt():
                if error is not None:
                    raise error
        except BaseException as raised:  # noqa: BLE001  # returned to the test
            return raised
        return None

    def refused(self) -> bool:
        """Return whether the circuit refuses a request."""
        error = NotFound()
        return self.attempt(error) is not error

    def metric(self) -> float | None:
        """Return the value of the metric `svgx_engine_circuit_open`."""
        return REGISTRY.get_sample_value("svgx_engine_circuit_open", {"circuit": "test"})


@pytest.mark.parametrize("failure", [DeadlineExceeded(), Unavailable(), Overloaded()])
def test_failures_in_a_row_open_the_circuit(failure: SvgxError) -> None:
    """A circuit opens after `FAILURE_THRESHOLD` failures in a row, for `PAUSE_SECONDS`. Proves R-RESIL-2."""
    circuit = BreakerWithClock()
    for _ in range(3):
        for _ in range(FAILURE_THRESHOLD - 1):
            assert circuit.attempt(failure) is failure
        assert circuit.attempt() is None
    for _ in range(FAILURE_THRESHOLD):
        assert circuit.attempt(failure) is failure
    refusal = circuit.attempt()
    assert isinstance(refusal, Unavailable)
    assert refusal.retry_after == PAUSE_SECONDS


@pytest.mark.parametrize("error", [NotFound(), Conflict(), Internal(), NoResponders()])
def test_other_errors_keep_the_circuit_closed(error: SvgxError) -> None:
    """A caller's mistake, a defect and a missing service do not count as failures. Proves R-RESIL-2."""
    circuit = BreakerWithClock()
    for _ in range(10 * FAILURE_THRESHOLD):
        assert circuit.attempt(error) is error
    assert not circuit.refused()


@pytest.mark.parametrize("operation", [state.EXPORT, collab.IMPORT_SVG])
def test_errors_of_content_and_callers_open_no_heavy_circuit(
    operation: Operation[Any, Any],
) -> None:
    """Errors due to a request's content or too many requests open no circuit of heavy operations. Proves R-RESIL-2."""
    circuit = CircuitBreakers().of(operation)
    for error in (Overloaded(), TooManyRequests(), TooLarge(), Invalid()):
        for _ in range(3 * FAILURE_THRESHOLD):
            with pytest.raises(type(error)), circuit.attempt():
                raise error
    for failure in (Unavailable(), DeadlineExceeded()):
        other = CircuitBreakers().of(operation)
        for _ in range(FAILURE_THRESHOLD):
            with pytest.raises(type(failure)), other.attempt():
                raise failure
        with pytest.raises(Unavailable), other.attempt():
            pytest.fail("the circuit is closed")


def test_half_open_circuit_lets_one_request_decide() -> None:
    """A half-open circuit admits one request. Its result opens or closes the circuit. Proves R-RESIL-2."""
    circuit = BreakerWithClock()
    for _ in range(FAILURE_THRESHOLD):
        circuit.attempt(DeadlineExceeded())
    circuit.now += PAUSE_SECONDS
    probe = circuit.breaker.attempt()
    probe.__enter__()
    assert circuit.refused()
    probe.__exit__(DeadlineExceeded, DeadlineExceeded(), None)
    assert circuit.refused()
    circuit.now += PAUSE_SECONDS
    with circuit.breaker.attempt():
        assert circuit.refused()
    assert not circuit.refused()
    # A closed circuit counts from zero.
    for _ in range(FAILURE_THRESHOLD - 1):
        circuit.attempt(DeadlineExceeded())
    assert not circuit.refused()


def test_metric_of_an_open_circuit_is_1_only_while_requests_are_refused() -> None:
    """The metric returns to 0 at the end of the pause, also if no further request arrives. Proves R-OBS-2."""
    circuit = BreakerWithClock()
    assert circuit.metric() == 0
    for _ in range(FAILURE_THRESHOLD):
        circuit.attempt(DeadlineExceeded())
    assert circuit.metric() == 1
    circuit.now += PAUSE_SECONDS
    assert circuit.metric() == 0
    with circuit.breaker.attempt():
        assert circuit.metric() == 1
    assert circuit.metric() == 0


def test_cancelled_request_leaves_the_circuit_half_open() -> None:
    """A cancelled request neither opens nor closes the circuit. The next request decides. Proves R-RESIL-2."""
    circuit = BreakerWithClock()
    for _ in range(FAILURE_THRESHOLD):
        circuit.attempt(DeadlineExceeded())
    circuit.now += PAUSE_SECONDS
    circuit.attempt(KeyboardInterrupt())
    with circuit.breaker.attempt():
        assert circuit.refused()
    assert not circuit.refused()


def test_request_from_before_the_opening_does_not_prolong_the_pause() -> None:
    """A request that began before the circuit opened does not keep it open longer. Proves R-RESIL-2."""
    circuit = BreakerWithClock()
    early = circuit.breaker.attempt()
    early.__enter__()
    for _ in range(FAILURE_THRESHOLD):
        circuit.attempt(DeadlineExceeded())
    circuit.now += PAUSE_SECONDS / 2
    early.__exit__(DeadlineExceeded, DeadlineExceeded(), None)
    circuit.now += PAUSE_SECONDS / 2
    assert not circuit.refused()


@pytest.mark.parametrize(
    ("pool", "error"),
    [
        (Pool.QUICK, Internal()),
        (Pool.QUICK, NoResponders()),
        (Pool.QUICK, BusUnreachable()),
        (Pool.OUTSIDE, Internal()),
        (Pool.OUTSIDE, NoResponders()),
        (Pool.OUTSIDE, Unavailable()),
        (Pool.PASSWORD, Internal()),
        (Pool.PASSWORD, Overloaded()),
    ],
)
def test_error_that_says_nothing_about_the_service_changes_nothing(
    pool: Pool, error: SvgxError
) -> None:
    """The error neither resets the count of failures nor closes an open circuit. Proves R-RESIL-2."""
    circuit = BreakerWithClock(pool)
    for _ in range(FAILURE_THRESHOLD - 1):
        circuit.attempt(DeadlineExceeded())
        assert circuit.attempt(error) is error
    circuit.attempt(DeadlineExceeded())
    assert circuit.refused()
    circuit.now += PAUSE_SECONDS
    # The circuit is half open. The error does not decide, so the next request does.
    assert circuit.attempt(error) is error
    with circuit.breaker.attempt():
        assert circuit.refused()
    assert not circuit.refused()


@pytest.mark.parametrize("pool", list(Pool))
@pytest.mark.parametrize("error", [NotFound(), Conflict()])
def test_answer_to_a_mistake_closes_the_circuit(pool: Pool, error: SvgxError) -> None:
    """An answer to a caller's mistake shows that the service works. Proves R-RESIL-2."""
    circuit = BreakerWithClock(pool)
    for _ in range(FAILURE_THRESHOLD):
        circuit.attempt(DeadlineExceeded())
    circuit.now += PAUSE_SECONDS
    assert circuit.attempt(error) is error
    assert not circuit.refused()


def test_heavy_operations_have_their_own_circuit() -> None:
    """Each service has a circuit, and its heavy operations have another circuit. Proves R-RESIL-2."""
    circuits = CircuitBreakers()
    assert circuits.of(state.GET_CANVAS) is circuits.of(state.CREATE_CANVAS)
    assert circuits.of(state.GET_CANVAS) is not circuits.of(state.EXPORT)
    assert circuits.of(state.GET_CANVAS) is not circuits.of(auth.ME)


def test_operations_with_an_outside_system_have_their_own_circuit() -> None:
    """An unavailable sign-in provider opens no circuit; requests that time out open only the circuit of sign-in.

    Proves R-RESIL-2 and R-AUTH-35.
    """
    circuits = CircuitBreakers()
    outside = circuits.of(oidc.OIDC_LOGIN)
    assert outside is circuits.of(oidc.OIDC_CALLBACK)
    for heavy in (undo.UNDO_EDIT, RESTORE_VERSION):
        for _ in range(10 * FAILURE_THRESHOLD):
            with pytest.raises(Unavailable), circuits.of(heavy).attempt():
                raise Unavailable
        with circuits.of(heavy).attempt():
            pass
    assert outside is not circuits.of(auth.ME)

    def fail(error: SvgxError) -> None:
        with pytest.raises(type(error)) as raised, outside.attempt():
            raise error
        assert raised.value is error

    for _ in range(10 * FAILURE_THRESHOLD):
        fail(Unavailable())
    for _ in range(FAILURE_THRESHOLD):
        fail(DeadlineExceeded())
    with pytest.raises(Unavailable), outside.attempt():
        pass
    with circuits.of(auth.ME).attempt():
        pass


@pytest.mark.parametrize(
    ("expensive", "cheap"),
    [
        (auth.LOGIN, auth.REFRESH),
        (auth.LOGIN, auth.ME),
        (auth.LOGIN, auth.UPDATE_USER),
        (auth.CREATE_USER, auth.LIST_USERS),
        (auth.CHANGE_PASSWORD, auth.LOGOUT),
        (oidc.OIDC_LOGIN, auth.LOGIN),
        (state.EXPORT, state.GET_CANVAS),
        (undo.UNDO_EDIT, CHANGE_ELEMENTS),
        (undo.UNDO_EDIT, LOCK_OBJECT),
        (RESTORE_VERSION, state.EXPORT),
    ],
)
def test_expensive_operations_open_no_circuit_of_cheap_ones(
    expensive: Operation[Any, Any], cheap: Operation[Any, Any]
) -> None:
    """Time-outs of expensive operations cause no refusals of cheap operations. Proves R-RESIL-2."""
    circuits = CircuitBreakers()
    for _ in range(FAILURE_THRESHOLD):
        with pytest.raises(DeadlineExceeded), circuits.of(expensive).attempt():
            raise DeadlineExceeded
    with pytest.raises(Unavailable), circuits.of(expensive).attempt():
        pass
    with circuits.of(cheap).attempt():
        pass


@pytest.mark.parametrize(
    ("asking", "others"),
    [
        (state.SET_MEMBER, (state.GET_CANVAS, state.CREATE_CANVAS, state.GET_MEMBER)),
        (state.REMOVE_MEMBER, (state.GET_CANVAS, state.RENAME_CANVAS, state.DELETE_CANVAS)),
        (ratelimits.SET_CONFIG, (ratelimits.ANALYTICS,)),
        (ratelimits.GET_CONFIG, (ratelimits.ANALYTICS,)),
    ],
)
@pytest.mark.parametrize("error", [Unavailable(), DeadlineExceeded()])
def test_failure_of_the_asked_service_opens_no_circuit(
    asking: Operation[Any, Any], others: tuple[Operation[Any, Any], ...], error: SvgxError
) -> None:
    """While a service fails, the operations that ask it fail too, but open no circuit of their own service.

    Changes of members in state ask auth, and the configuration operations of the gateway ask state.

    Proves R-RESIL-2.
    """
    circuits = CircuitBreakers()
    for _ in range(2 * FAILURE_THRESHOLD):
        with pytest.raises(type(error)) as raised, circuits.of(asking).attempt():
            raise error
        assert raised.value is error
    for operation in (asking, *others):
        with circuits.of(operation).attempt():
            pass


def test_overload_of_an_asking_operation_opens_its_own_circuit() -> None:
    """An overload opens the circuit of asking operations, but not the service's other circuits. Proves R-RESIL-2."""
    circuits = CircuitBreakers()
    for _ in range(FAILURE_THRESHOLD):
        with pytest.raises(Overloaded), circuits.of(state.SET_MEMBER).attempt():
            raise Overloaded
    with pytest.raises(Unavailable), circuits.of(state.SET_MEMBER).attempt():
        pass
    with circuits.of(state.GET_CANVAS).attempt():
        pass


def test_full_password_queue_opens_no_circuit() -> None:
    """Refusals of the full password queue open no circuit, because an open circuit would refuse every caller.

    The queue itself chooses fairly between callers. Proves R-AUTH-40.
    """
    circuit = CircuitBreakers().of(auth.LOGIN)
    for _ in range(10 * FAILURE_THRESHOLD):
        with pytest.raises(Overloaded), circuit.attempt():
            raise Overloaded(retry_after=2.0)
    with circuit.attempt():
        pass
