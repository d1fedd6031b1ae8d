"""A circuit, by a clock of the test's own."""

import pytest

from svgx_common.contract import auth, oidc, state
from svgx_common.contract.errors import (
    Conflict,
    DeadlineExceeded,
    Internal,
    NotFound,
    Overloaded,
    SvgxError,
    Unavailable,
)
from svgx_common.messaging.bus import NoResponders
from svgx_gateway.http.circuit_breaker import PAUSE, THRESHOLD, CircuitBreaker, CircuitBreakers


class Bench:
    """A circuit and its time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.circuit = CircuitBreaker("bench", lambda: self.now)

    def attempt(self, error: BaseException | None = None) -> BaseException | None:
        """One request that ends like this; what its caller gets."""
        try:
            with self.circuit.attempt():
                if error is not None:
                    raise error
        except BaseException as raised:  # noqa: BLE001  # given back to be looked at
            return raised
        return None

    def refused(self) -> bool:
        """Whether a request does not get through at all."""
        through = NotFound()
        return self.attempt(through) is not through


@pytest.mark.parametrize("failure", [DeadlineExceeded(), Unavailable(), Overloaded()])
def test_it_opens_after_failures_in_a_row(failure: SvgxError) -> None:
    """Proves R-RESIL-2."""
    bench = Bench()
    for _ in range(3):
        for _ in range(THRESHOLD - 1):
            assert bench.attempt(failure) is failure
        assert bench.attempt() is None
    for _ in range(THRESHOLD):
        assert bench.attempt(failure) is failure
    refusal = bench.attempt()
    assert isinstance(refusal, Unavailable)
    assert refusal.retry_after == PAUSE


@pytest.mark.parametrize("error", [NotFound(), Conflict(), Internal(), NoResponders()])
def test_a_callers_mistake_does_not_count(error: SvgxError) -> None:
    """Proves R-RESIL-2; nor does a defect one request runs into, or a service that is not there."""
    bench = Bench()
    for _ in range(10 * THRESHOLD):
        assert bench.attempt(error) is error
    assert not bench.refused()


def test_one_request_decides() -> None:
    """Proves R-RESIL-2: half open it lets one through, whose end it follows."""
    bench = Bench()
    for _ in range(THRESHOLD):
        bench.attempt(DeadlineExceeded())
    bench.now += PAUSE
    probe = bench.circuit.attempt()
    probe.__enter__()
    assert bench.refused()
    assert not probe.__exit__(DeadlineExceeded, DeadlineExceeded(), None)
    assert bench.refused()
    bench.now += PAUSE
    with bench.circuit.attempt():
        assert bench.refused()
    assert not bench.refused()
    # Closed, it counts from the beginning.
    for _ in range(THRESHOLD - 1):
        bench.attempt(DeadlineExceeded())
    assert not bench.refused()


def test_one_that_is_given_up_decides_nothing() -> None:
    """Proves R-RESIL-2: the next one tries."""
    bench = Bench()
    for _ in range(THRESHOLD):
        bench.attempt(DeadlineExceeded())
    bench.now += PAUSE
    bench.attempt(KeyboardInterrupt())
    with bench.circuit.attempt():
        assert bench.refused()
    assert not bench.refused()


def test_those_under_way_do_not_keep_it_open() -> None:
    """Proves R-RESIL-2: what began before it opened ends when it ends."""
    bench = Bench()
    early = bench.circuit.attempt()
    early.__enter__()
    for _ in range(THRESHOLD):
        bench.attempt(DeadlineExceeded())
    bench.now += PAUSE / 2
    assert not early.__exit__(DeadlineExceeded, DeadlineExceeded(), None)
    bench.now += PAUSE / 2
    assert not bench.refused()


def test_heavy_operations_have_their_own() -> None:
    """Proves R-RESIL-2."""
    circuits = CircuitBreakers()
    assert circuits.of(state.GET_CANVAS) is circuits.of(state.CREATE_CANVAS)
    assert circuits.of(state.GET_CANVAS) is not circuits.of(state.EXPORT)
    assert circuits.of(state.GET_CANVAS) is not circuits.of(auth.ME)


def test_what_waits_for_somebody_outside_has_its_own() -> None:
    """Proves R-RESIL-2 and R-AUTH-35: that one sign-in provider is away counts neither for auth nor for another one."""
    circuits = CircuitBreakers()
    outside = circuits.of(oidc.OIDC_LOGIN)
    assert outside is circuits.of(oidc.OIDC_CALLBACK)
    assert outside is not circuits.of(auth.ME)

    def fail(error: SvgxError) -> None:
        with pytest.raises(type(error)) as raised, outside.attempt():
            raise error
        assert raised.value is error

    for _ in range(10 * THRESHOLD):
        fail(Unavailable())
    for _ in range(THRESHOLD):
        fail(DeadlineExceeded())
    with pytest.raises(Unavailable), outside.attempt():
        pass
    with circuits.of(auth.ME).attempt():
        pass
