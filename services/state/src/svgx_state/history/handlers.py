"""The handlers of the history's operations. The gateway has checked the caller's canvas role where one is needed."""

from svgx_common.contract.operation import Empty
from svgx_common.contract.storage import versions as contract
from svgx_common.contract.storage.versions import VersionKind
from svgx_common.messaging.responder import Call, Responder
from svgx_state.history.differences import Differences
from svgx_state.history.past import Past
from svgx_state.history.restores import Restores
from svgx_state.history.thumbnails import Thumbnails
from svgx_state.history.versions import Versions


class HistoryHandlers:
    """The handlers of all operations on versions, and on the content of a canvas at a past time."""

    def __init__(
        self,
        past: Past,
        versions: Versions,
        restores: Restores,
        differences: Differences,
        thumbnails: Thumbnails,
    ) -> None:
        self._past = past
        self._versions = versions
        self._restores = restores
        self._differences = differences
        self._thumbnails = thumbnails

    def register(self, responder: Responder) -> None:
        """Answer all operations of the history."""
        responder.answer(contract.LIST_VERSIONS, self.list_versions)
        responder.answer(contract.CREATE_VERSION, self.create_version)
        responder.answer(contract.GET_VERSION, self.get_version)
        responder.answer(contract.RENAME_VERSION, self.rename_version)
        responder.answer(contract.DELETE_VERSION, self.delete_version)
        responder.answer(contract.RESTORE_VERSION, self._restores.restore)
        responder.answer(contract.DIFF_VERSION, self._differences.compare)
        responder.answer(contract.THUMBNAIL, self._thumbnails.thumbnail)
        responder.answer(contract.FIND_MOMENT, self.find_moment)
        responder.answer(contract.VERSION_BEFORE_IMPORT, self.version_before_import)

    async def list_versions(
        self, request: contract.ListVersionsRequest, _: Call
    ) -> contract.VersionPage:
        return await self._versions.page(request)

    async def create_version(
        self, request: contract.CreateVersionRequest, call: Call
    ) -> contract.Version:
        version = await self._versions.add(
            request.canvas_id, VersionKind.NAMED, call.signed_in_caller().user_id, request.name
        )
        assert version is not None, "only an automatic version may be unnecessary"
        return version

    async def get_version(self, request: contract.VersionRequest, _: Call) -> contract.Version:
        return await self._versions.get(request.canvas_id, request.version_id)

    async def rename_version(
        self, request: contract.RenameVersionRequest, _: Call
    ) -> contract.Version:
        return await self._versions.rename(request.canvas_id, request.version_id, request.name)

    async def delete_version(self, request: contract.VersionRequest, _: Call) -> Empty:
        await self._versions.delete(request.canvas_id, request.version_id)
        return Empty()

    async def find_moment(self, request: contract.MomentRequest, _: Call) -> contract.Moment:
        return await self._past.moment(request.canvas_id, request.at)

    async def version_before_import(
        self, request: contract.VersionBeforeImportRequest, _: Call
    ) -> contract.Version:
        version = await self._versions.add(
            request.canvas_id, VersionKind.BEFORE_IMPORT, request.user_id
        )
        assert version is not None, "only an automatic version may be unnecessary"
        return version
