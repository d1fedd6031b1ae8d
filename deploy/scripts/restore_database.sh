#!/bin/sh
# Restore the database of SVGX Engine from a backup of backup_database.sh, in one transaction.
set -eu

usage() {
    cat <<'TEXT'
restore_database.sh [--yes] FILE   replace the schemas auth and state by the backup; `latest` is the newest backup

Stop the services first. The file is read completely before anything is changed, and a failed restore changes nothing.

POSTGRES_URL         the database, with the role of the services (required). It is created if it is missing
POSTGRES_ADMIN_URL   a role that may create the database, if the role of POSTGRES_URL may not
BACKUP_DIR           the folder of the backups (/backups), for `latest`

Exit status: 0 restored; 1 failed, nothing was changed; 2 wrong arguments or settings; 3 the file was refused;
4 restored, but the rows differ from the manifest.
TEXT
}

# shellcheck source=deploy/scripts/database_connection.sh
. "$(dirname "$0")/database_connection.sh"

work=""
children=""

end_of_script() {
    code=$?
    trap - EXIT
    # shellcheck disable=SC2086  # a list of process ids
    [ -z "$children" ] || kill $children 2>/dev/null || true
    [ -z "$work" ] || rm -rf "$work"
    exit "$code"
}

# Fail unless the database can be reached. Create it if it is missing.
find_database() {
    if sql target --command="SELECT 1" >/dev/null 2>"$work/errors"; then
        return 0
    fi
    grep -q "does not exist" "$work/errors" || fail 1 "nothing was changed: $(tail -n 1 "$work/errors")"
    say "creating the database $database_of_target"
    # A role may act as another one (ALTER ROLE … SET role), which then creates the schemas and owns the tables.
    use_server owner "$POSTGRES_URL" POSTGRES_URL postgres
    owner="$(sql owner --command="SELECT current_user" 2>/dev/null)" || owner="$user_of_target"
    printf 'CREATE DATABASE :"name" OWNER :"owner" TEMPLATE template0;\n' \
        | sql admin --set=name="$database_of_target" --set=owner="$owner" --file=- 2>"$work/errors" \
        || fail 1 "nothing was changed: the database is missing and cannot be created: $(tail -n 1 "$work/errors"); set POSTGRES_ADMIN_URL to a role that may create databases"
}

# Fail while services are connected. They would wait for the restore, and then use tables that were replaced.
refuse_running_services() {
    connected="$(sql target --command="SELECT string_agg(DISTINCT application_name, ', ') FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'svgx-%'")" \
        || fail 1 "nothing was changed: the connections to the database cannot be listed"
    [ -z "$connected" ] || fail 1 "nothing was changed: these services are connected to the database: $connected. Stop the services first"
}

confirm() {
    [ -z "$agreed" ] || return 0
    [ -t 0 ] || fail 2 "this replaces all accounts and canvases in the database $database_of_target: repeat the command with --yes"
    printf 'This replaces all accounts and canvases in the database %s. Type its name to go on: ' "$database_of_target"
    read -r answer || answer=""
    [ "$answer" = "$database_of_target" ] || fail 1 "nothing was changed: the answer is not the name of the database"
}

agreed=""
file=""
while [ $# -gt 0 ]; do
    case "$1" in
        --yes) agreed=yes ;;
        --help | -h) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *)
            [ -z "$file" ] || { usage >&2; exit 2; }
            file="$1" ;;
    esac
    shift
done
[ -n "$file" ] || { usage >&2; exit 2; }
[ -n "${POSTGRES_URL:-}" ] || fail 2 "POSTGRES_URL is not set"
require psql pg_restore sha256sum
make_work
# The admin connects to the database `postgres`, because the target may be missing and has to be created.
use_server admin "${POSTGRES_ADMIN_URL:-$POSTGRES_URL}" POSTGRES_ADMIN_URL postgres
use_server target "$POSTGRES_URL" POSTGRES_URL
database_of_target="$server_database"
user_of_target="$server_user"
if [ "$file" = latest ]; then
    file=""
    for each in "${BACKUP_DIR:-/backups}"/svgx_backup_[0-9]*_[0-9]*.dump; do
        [ ! -f "$each" ] || file="$each"
    done
    [ -n "$file" ] || fail 3 "there is no backup in ${BACKUP_DIR:-/backups}"
fi
check_file "$file"
confirm
find_database
refuse_running_services
say "restoring $file into the database $database_of_target"
restore target "$file" || fail 1 "nothing was changed: $(restore_errors)"
sql target --command="ANALYZE" >/dev/null 2>&1 || true
manifest="${file%.dump}.manifest"
if [ -f "$manifest" ]; then
    compare_counts target "$manifest" || fail 4 "restored, but the rows differ from the manifest of the backup"
    say "restored: $(rows_of "$manifest"), as in the manifest"
else
    say "restored; the file has no manifest to compare with"
fi
