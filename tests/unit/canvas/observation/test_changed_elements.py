"""The elements that are described after a transaction. All tests prove R-JSON-6 or R-JSON-7."""

import pytest
from pycrdt import Array, Doc, Map, Text

from svgx_canvas.document import pycrdt_document
from svgx_canvas.document.shared_document import SharedDocument
from svgx_canvas.observation.changed_elements import MAX_CHANGED, ElementObserver
from svgx_canvas.observation.observed_elements import EVERYTHING
from tests.unit.canvas.observation.observed_document import (
    ObservedDocument,
    delete,
    element,
    put,
)


def test_new_element_is_described_as_a_whole() -> None:
    """Proves R-JSON-6, also for an element that is a plain object."""
    document = ObservedDocument()
    document.elements["b"] = element(x="1")
    document.elements["a"] = Map({"tag": "g", "attrs": Map({"fill": "red"})})
    first = {**put("a", "g", fill="red"), "order": ""}
    assert document.operations() == [first, put("b", x="1")]


@pytest.mark.parametrize("is_plain", [True, False])
def test_changed_element_is_described_as_a_whole(is_plain: bool) -> None:
    """A change of one attribute describes the other attributes too. Proves R-JSON-6."""
    document = ObservedDocument({"a": element(x="1", y="2"), "b": element()})
    if is_plain:
        document.elements["a"] = element(x="3", y="2")
    else:
        document.elements["a"]["attrs"]["x"] = "3"
    assert document.operations() == [put("a", x="3", y="2")]


def test_changed_text_is_described() -> None:
    """A Y.Text may be the character data or the value of an attribute. Proves R-JSON-6."""
    texts = {"t": element("text"), "c": element("#text", "t", text=Text("Hello"))}
    document = ObservedDocument({**texts, "a": element(fill=Text("re"))})
    document.elements["c"]["text"].insert(5, " all")
    assert document.operations() == [put("c", "#text", "t", text="Hello all")]
    document.elements["a"]["attrs"]["fill"].insert(2, "d")
    assert document.operations() == [put("a", fill="red")]


def test_several_transactions_are_described_together() -> None:
    """The description has the present state only: the root, the elements, and then the deletions. Proves R-JSON-6."""
    document = ObservedDocument({"c": element(), "b": element(x="1")})
    for value in ("2", "3"):
        document.elements["b"]["attrs"]["x"] = value
        document.take()
        document.server.flush()
    del document.elements["c"]
    document.root["viewBox"] = "0 0 1 1"
    document.elements["a"] = Map(element())
    document.elements["d"] = Map(element())
    document.take()
    document.server.flush()
    del document.elements["d"]
    root = {"op": "root", "attrs": {"viewBox": "0 0 1 1"}}
    expected = [root, put("a"), put("b", x="3"), delete("c"), delete("d")]
    assert document.operations() == expected
    assert document.send() is None


def test_change_in_a_list_counts_for_its_element() -> None:
    """A client may write anything into an element. Proves R-JSON-6."""
    document = ObservedDocument({"a": element()})
    document.elements["a"]["other"] = Array([Map({})])
    assert document.operations() == [put("a")]
    document.elements["a"]["other"][0]["x"] = 1
    assert document.operations() == [put("a")]


def test_observation_of_an_empty_document_changes_nothing() -> None:
    """pycrdt creates the root maps for the observation. This is neither a change nor a fault. Proves R-JSON-7."""
    server = SharedDocument.load()
    server.observe_elements()
    assert not server.has_changed_elements
    assert not server.has_changes
    assert (server.flush(), server.describe_elements()) == ([], None)
    client: Doc[Map[object]] = Doc()
    client.get("other", type=Map)["a"] = 1
    server.take(client.get_update())
    assert (len(server.flush()), server.describe_elements()) == (1, None)


def test_change_before_the_observation_is_not_described() -> None:
    """The same is true of a change after the observation. Proves R-JSON-7."""
    document = ObservedDocument()
    document.server.stop_observing_elements()
    document.elements["a"] = element()
    assert document.send() is None
    document.server.observe_elements()
    document.elements["b"] = element()
    assert document.operations() == [put("b")]
    document.elements["c"] = element()
    document.take()
    document.server.flush()
    document.server.stop_observing_elements()
    assert document.server.describe_elements() is None
    assert not document.server.has_changed_elements


def test_many_changed_elements_count_as_everything() -> None:
    """The next changes are described one by one again. Proves R-JSON-7."""
    document = ObservedDocument()
    with document.client.transaction():
        for number in range(MAX_CHANGED + 1):
            document.elements[f"e{number}"] = element()
    assert document.send() == EVERYTHING
    assert document.send() is None
    for number in range(MAX_CHANGED):
        document.elements[f"e{number}"] = element(x="1")
    assert len(document.operations()) == MAX_CHANGED


def test_open_transaction_at_the_begin_counts_as_everything() -> None:
    """A large edit is integrated before the end of its transaction. Proves R-JSON-7."""
    document = ObservedDocument()
    document.server.stop_observing_elements()
    attrs = Map({f"data-{number}": "1" for number in range(100)})
    document.elements["a"] = Map({**element(), "attrs": attrs})
    document.take()
    document.server.observe_elements()
    assert document.send() == EVERYTHING
    document.elements["a"]["attrs"] = Map({"x": "2"})
    assert document.operations() == [put("a", x="2")]


def test_costly_transaction_counts_as_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """pycrdt would go through long lists to find the changed elements. Proves R-JSON-7."""
    document = ObservedDocument({"a": element()})
    with monkeypatch.context() as patch:
        patch.setattr(pycrdt_document, "MAX_STEPS_TO_CHANGES", 0)
        document.elements["a"]["attrs"]["x"] = "1"
        assert document.send() == EVERYTHING
    document.elements["a"]["attrs"]["x"] = "2"
    assert document.operations() == [put("a", x="2")]


def test_changes_in_a_long_list_are_not_searched_for() -> None:
    """Each of many changed maps in a list has thousands of maps before it. Proves R-JSON-7."""
    document = ObservedDocument({"a": element()})
    document.elements["a"]["other"] = Array([])
    maps: list[Map[object]] = [Map({}) for _ in range(3_000)]
    with document.client.transaction():
        for each in maps:
            document.elements["a"]["other"].append(each)
    document.send()
    with document.client.transaction():
        for each in maps:
            each["x"] = 1
    assert document.send() == EVERYTHING
    maps[0]["x"] = 2
    assert document.operations() == [put("a")]


def test_root_of_another_type_counts_as_everything() -> None:
    """The document is not harmed, and its edits are integrated. Proves R-JSON-7."""
    doc: Doc[Text] = Doc()
    text = doc.get("elements", type=Text)
    text += "text"
    observer = ElementObserver(doc)
    observer.attach()
    assert not observer.has_changes
    text += " and more"
    assert observer.take().everything
    assert not observer.has_changes
    assert str(text) == "text and more"


def test_document_that_cannot_be_observed_counts_as_everything() -> None:
    """Each attempt counts once, and the caller gets no exception. Proves R-JSON-7."""

    class Broken(Doc[Map[object]]):
        def get(self, key: str, *, type: object) -> Map[object]:  # noqa: A002
            raise RuntimeError(key, type)

    observer = ElementObserver(Broken())
    for _ in range(2):
        observer.attach()
        assert not observer.is_attached
        assert observer.take().everything
        assert not observer.has_changes
