"""The handlers of the operations on backups and restores. The gateway checks that the caller is an admin."""

from svgx_common.contract.errors import Conflict
from svgx_common.contract.storage import backups as contract
from svgx_common.messaging.responder import Call, Responder
from svgx_state.backups.building import Backups
from svgx_state.backups.catalogue import Catalogue


class BackupHandlers:
    """The handlers, one method for each operation. Each raises `Conflict` while `BACKUP_URL` is not set."""

    def __init__(self, backups: Backups | None) -> None:
        self._backups = backups

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(contract.CREATE_BACKUP, self.create_backup)
        responder.answer(contract.LIST_BACKUPS, self.list_backups)
        responder.answer(contract.GET_BACKUP, self.get_backup)
        responder.answer(contract.VERIFY_BACKUP, self.verify_backup)
        responder.answer(contract.DELETE_BACKUP, self.delete_backup)
        responder.answer(contract.RESTORE_BACKUP, self.restore_backup)
        responder.answer(contract.LIST_RESTORES, self.list_restores)
        responder.answer(contract.GET_RESTORE, self.get_restore)
        responder.answer(contract.RESTORED_CANVASES, self.restored_canvases)

    async def create_backup(
        self, request: contract.CreateBackupRequest, call: Call
    ) -> contract.Backup:
        backup = await self._catalogue().request_backup(request, call.signed_in_caller().user_id)
        self._wake()
        return backup

    async def list_backups(
        self, request: contract.ListBackupsRequest, _: Call
    ) -> contract.BackupPage:
        return await self._catalogue().page(request)

    async def get_backup(self, request: contract.BackupRequest, _: Call) -> contract.Backup:
        return await self._catalogue().get(request.backup_id)

    async def verify_backup(self, request: contract.BackupRequest, _: Call) -> contract.Backup:
        backup = await self._catalogue().request_verification(request.backup_id)
        self._wake()
        return backup

    async def delete_backup(self, request: contract.BackupRequest, _: Call) -> contract.Backup:
        backup = await self._catalogue().request_deletion(request.backup_id)
        self._wake()
        return backup

    async def restore_backup(
        self, request: contract.RestoreRequest, call: Call
    ) -> contract.Restore:
        restore = await self._catalogue().request_restore(request, call.signed_in_caller().user_id)
        self._wake()
        return restore

    async def list_restores(
        self, request: contract.ListRestoresRequest, _: Call
    ) -> contract.RestorePage:
        return await self._catalogue().restore_page(request)

    async def get_restore(self, request: contract.RestoreIdRequest, _: Call) -> contract.Restore:
        return await self._catalogue().get_restore(request.restore_id)

    async def restored_canvases(
        self, request: contract.RestoredCanvasesRequest, _: Call
    ) -> contract.RestoredCanvasPage:
        return await self._catalogue().restored_canvases(request)

    def _catalogue(self) -> Catalogue:
        if self._backups is None:
            raise Conflict("backups are turned off: set BACKUP_URL of the state service")
        return self._backups.catalogue

    def _wake(self) -> None:
        if self._backups is not None:
            self._backups.runner.wake()
