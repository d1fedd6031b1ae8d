"""The plans of live drills."""

from itertools import pairwise

from tests.chaos.live.plan import EVERYTHING, Kind, Victims, draw

VICTIMS = Victims(
    services=("gateway", "gateway-2", "collab", "collab-2", "state", "state-2"),
    links=("collab-2", "gateway-2", "state-2"),
    canvases=("0", "1", "2", "3"),
    without_yjs_clients=("2", "3"),
)


def test_plan_of_a_seed_is_always_the_same() -> None:
    """The same seed gives the same plan, and another seed gives another plan."""
    plan = draw(7, 60, (1.5, 4), VICTIMS)
    assert draw(7, 60, (1.5, 4), VICTIMS) == plan
    assert draw(8, 60, (1.5, 4), VICTIMS) != plan


def test_ten_plans_of_a_minute_have_all_kinds_of_events() -> None:
    """Ten plans together have every kind and every victim.

    Apart from power cuts, a process has no event within 4 s of the end of its previous event.
    """
    plans = [draw(seed, 60, (1.5, 4), VICTIMS) for seed in range(10)]
    events = [event for plan in plans for event in plan]
    assert {event.kind for event in events} == set(Kind)
    processes = {*VICTIMS.services, "nats", "postgres", "valkey"}
    assert {event.victim for event in events} == processes | {*VICTIMS.canvases, EVERYTHING}
    for plan in plans:
        assert all(0 < event.at < 60 for event in plan)
        for victim in processes:
            own = [event for event in plan if event.victim == victim]
            assert all(after.at >= event.at + event.seconds + 4 for event, after in pairwise(own))
