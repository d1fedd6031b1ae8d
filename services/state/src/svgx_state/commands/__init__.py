"""The commands for backups, and the checks of `BACKUP_URL` and `BACKUP_KEY` by the command `doctor`."""
