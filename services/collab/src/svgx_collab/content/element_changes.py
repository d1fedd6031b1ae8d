"""Changes of elements, and their undo and redo. Each is one edit of the caller."""

import functools

from pydantic_core import to_json

from svgx_canvas import Changed, Undone, YjsClient
from svgx_collab.content.edit_history import Direction, EditHistory, NewStep
from svgx_collab.content.element_edits import ElementEdits
from svgx_common.contract.errors import Conflict, DeadlineExceeded, Invalid, TooLarge
from svgx_common.contract.live.element_changes import ChangeElementsRequest, ElementsChanged
from svgx_common.contract.live.undo import EditUndone, UndoRequest, UndoStatus
from svgx_common.messaging.responder import Call
from svgx_workers.jobs import Jobs


class ElementChanges:
    """The changes of elements on one replica. The history has the changes that accounts can undo and redo."""

    def __init__(self, edits: ElementEdits, history: EditHistory) -> None:
        self._edits = edits
        self._history = history

    async def change_elements(self, request: ChangeElementsRequest, call: Call) -> ElementsChanged:
        """Carry out all operations of a request as one edit of the caller, or none of them.

        Raises `NotFound`, `Conflict` or `Invalid` with the field of the operation that cannot be carried out. Also
        raises the other errors of `ElementEdits.edit`.
        """
        caller = call.signed_in_caller()
        operations = to_json([each.model_dump(exclude_unset=True) for each in request.operations])
        # The visitors of a share link have one id, so a visitor would undo the edits of others.
        has_history = not caller.is_visitor
        group = request.undo_group if has_history else None
        earlier = await self._history.newest_of_group(request.canvas_id, caller.user_id, group)
        earlier_step = b"" if earlier is None else earlier.step

        async def compute(worker: Jobs, current: bytes, client: YjsClient | None) -> Changed:
            return await worker.change_elements(
                current, operations, client, earlier_step=earlier_step
            )

        changed, revision = await self._edits.edit(
            request.canvas_id, caller.user_id, call.ends_at(), compute
        )
        if changed.step and has_history:
            step = NewStep(changed.step, group, earlier, changed.joined_step)
            await self._history.record(request.canvas_id, caller.user_id, step)
        return ElementsChanged(revision=revision, created=changed.created)

    async def undo(self, request: UndoRequest, call: Call) -> EditUndone:
        """Undo the newest change that the caller has made and not undone yet. Raises the errors of `_reverse`."""
        return await self._reverse("undo", request.canvas_id, call)

    async def redo(self, request: UndoRequest, call: Call) -> EditUndone:
        """Repeat the change that the caller has undone last. Raises the errors of `_reverse`."""
        return await self._reverse("redo", request.canvas_id, call)

    async def status(self, request: UndoRequest, call: Call) -> UndoStatus:
        """Return the numbers of edits that the caller can undo and redo."""
        account = call.signed_in_caller().user_id
        counts = await self._history.counts(request.canvas_id, account)
        return UndoStatus(undo_count=counts.undo, redo_count=counts.redo)

    async def _reverse(self, direction: Direction, canvas_id: str, call: Call) -> EditUndone:
        """Carry out the newest step of one direction that has an effect, as an edit of the caller.

        A step without an effect, and a step that is refused, are removed from the history, because they would block all
        older ones. After another failure, the step stays. Raises `Conflict` if there is no step with an effect,
        `Invalid` if the canvas would be beyond a limit, and `TooLarge` if the step takes too much time or memory. If
        steps without an effect have used up a part of the time, it raises `DeadlineExceeded` in place of `TooLarge`.
        Also raises the errors of `EditHistory.turn` and `ElementEdits.edit`.
        """
        account = call.signed_in_caller().user_id
        ends_at = call.ends_at()
        has_whole_time = True
        async with self._history.turn(canvas_id, account):
            while newest := await self._history.newest(direction, canvas_id, account):
                compute = functools.partial(_undo, newest.step)
                try:
                    undone, revision = await self._edits.edit(canvas_id, account, ends_at, compute)
                except (Invalid, TooLarge) as refusal:
                    if isinstance(refusal, TooLarge) and not has_whole_time:
                        raise DeadlineExceeded(
                            f"edits for which there is nothing to {direction} took too long; try again"
                        ) from None
                    await self._history.move(direction, canvas_id, account, newest, b"")
                    raise
                counts = await self._history.move(
                    direction, canvas_id, account, newest, undone.step
                )
                if undone.step or counts is None:
                    return EditUndone(
                        revision=revision,
                        changed=undone.changed,
                        skipped=undone.skipped,
                        undo_count=None if counts is None else counts.undo,
                        redo_count=None if counts is None else counts.redo,
                    )
                has_whole_time = False
        raise Conflict(f"there is no edit of this account to {direction} on this canvas")


async def _undo(step: bytes, worker: Jobs, current: bytes, client: YjsClient | None) -> Undone:
    return await worker.undo(current, step, client)
