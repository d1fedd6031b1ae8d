#!/bin/sh
# Back up the database of SVGX Engine with pg_dump, in the custom format, while the services run.
set -eu

usage() {
    cat <<'TEXT'
backup_database.sh                 make a backup, and delete old ones
backup_database.sh --verify        also restore it into a scratch database, and compare the row counts of all tables
backup_database.sh --check FILE    verify an existing backup; `latest` is the newest backup
backup_database.sh --list          list the backups: time, bytes, numbers of tables and rows, last verification

POSTGRES_URL         the database (required, except for --list)
POSTGRES_ADMIN_URL   a role that may create the scratch database; the role of POSTGRES_URL by default
BACKUP_DIR           the folder of the backups (/backups)
BACKUP_VERIFY        true: as with --verify
BACKUP_KEEP_DAYS     delete backups that are older than this number of days (7); 0: no limit of age
BACKUP_KEEP_MIN      number of newest backups that are kept at any age (3)
BACKUP_KEEP_MAX      largest number of backups that are kept (0: no limit)

Exit status: 0 done; 1 no backup was made; 2 wrong arguments or settings; 3 the backup is damaged or cannot be verified.
TEXT
}

# shellcheck source=deploy/scripts/database_connection.sh
. "$(dirname "$0")/database_connection.sh"

backup_dir="${BACKUP_DIR:-/backups}"
keep_days="${BACKUP_KEEP_DAYS:-7}"
keep_min="${BACKUP_KEEP_MIN:-3}"
keep_max="${BACKUP_KEEP_MAX:-0}"
work=""
partial=""
scratch=""
children=""

end_of_script() {
    code=$?
    trap - EXIT
    # shellcheck disable=SC2086  # a list of process ids
    [ -z "$children" ] || kill $children "$(cat "$work/dump.pid" 2>/dev/null)" 2>/dev/null || true
    [ -z "$partial" ] || rm -f "$partial.dump" "$partial.manifest"
    [ -z "$scratch" ] || drop_scratch || true
    [ -z "$work" ] || rm -rf "$work"
    exit "$code"
}

drop_scratch() {
    sql admin --command="DROP DATABASE IF EXISTS \"$scratch\" WITH (FORCE)" >/dev/null 2>&1
}

# Drop the scratch databases that killed verifications have left. They are older than a day, and no session uses them.
drop_old_scratch() {
    sql admin --command="SELECT datname FROM pg_database WHERE datname ~ '^svgx_verify_\\d{8}_\\d{6}_\\d+\$' AND substr(datname, 13, 15) < to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYYMMDD_HH24MISS') AND datname NOT IN (SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL)" 2>/dev/null \
        | while read -r name; do
            # Without FORCE, the statement fails if a session has begun to use the database.
            ! sql admin --command="DROP DATABASE \"$name\"" >/dev/null 2>&1 || say "dropped the old scratch database $name"
        done
}

# Print the files of all backups, oldest first. Their names have the time in UTC.
backups() {
    for each in "$backup_dir"/svgx_backup_[0-9]*_[0-9]*.dump; do
        [ ! -f "$each" ] || printf '%s\n' "$each"
    done
}

list() {
    printf '%-20s %14s  %-28s %s\n' created bytes content verified
    backups | while read -r file; do
        manifest="${file%.dump}.manifest"
        if [ -f "$manifest" ]; then
            printf '%-20s %14s  %-28s %s  %s\n' "$(sed -n 's/^created //p' "$manifest")" \
                "$(sed -n 's/^bytes //p' "$manifest")" "$(rows_of "$manifest")" \
                "$(sed -n 's/^verified //p' "$manifest" | tail -n 1)" "$file"
        else
            printf '%-20s %14s  %-28s %s  %s\n' - "$(wc -c <"$file" | tr -d ' ')" "no manifest" "" "$file"
        fi
    done
}

make_backup() {
    mkdir -p "$backup_dir"
    # The script that creates the hidden file of a backup's name owns this name. So two scripts never write one backup.
    while :; do
        name="svgx_backup_$(date -u +%Y%m%d_%H%M%S)"
        target="$backup_dir/$name"
        hidden="$backup_dir/.$name"
        if (set -C && : >"$hidden.dump") 2>"$work/errors"; then
            partial="$hidden"
            [ -e "$target.dump" ] || break
            rm -f "$hidden.dump"
            partial=""
        elif [ ! -e "$hidden.dump" ] && [ ! -e "$target.dump" ]; then
            fail 1 "no backup was made: $(tail -n 1 "$work/errors")"
        fi
        sleep 1 # another backup began in this second
    done
    find "$backup_dir" -maxdepth 1 -name '.svgx_backup_*' -mmin +1440 -exec rm -f {} + 2>/dev/null || true
    # Higher levels than --compress=1 take several times as long: pg_dump compresses Yjs updates as hexadecimal digits.
    # The counts and the dump show the database at the same moment, although the services continue to write: psql
    # exports the snapshot of its transaction, and pg_dump reads this snapshot before the transaction ends.
    {
        echo "SET idle_in_transaction_session_timeout = 0;"
        echo "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
        echo "SELECT 'server ' || current_setting('server_version');"
        counting_sql
        printf '%s\n' "SELECT pg_export_snapshot() AS snapshot \\gset"
        printf '%s\n' "\\setenv SVGX_SNAPSHOT :snapshot"
        # shellcheck disable=SC2016  # the shell of psql replaces the variables
        printf '%s\n' '\! pg_dump --dbname=service=source --format=custom --compress=1 --snapshot="$SVGX_SNAPSHOT" --schema=auth --schema=state --file="$SVGX_FILE" 2>"$SVGX_WORK/dump" & echo $! >"$SVGX_WORK/dump.pid"; wait $! && touch "$SVGX_WORK/done"'
    } >"$work/script"
    SVGX_FILE="$partial.dump"
    SVGX_WORK="$work"
    export SVGX_FILE SVGX_WORK
    say "backing up to $target.dump"
    if ! in_background sql source --file="$work/script" >"$work/counts" 2>"$work/errors"; then
        fail 1 "no backup was made: $(cat "$work/errors" "$work/dump" 2>/dev/null | head -n 3 | tr '\n' ' ')"
    fi
    [ -f "$work/done" ] || fail 1 "no backup was made: $(tail -n 2 "$work/dump" | tr '\n' ' ')"
    digest="$(sha256sum <"$partial.dump")"
    {
        echo "svgx-database-backup 1"
        echo "created $(date -u +%Y-%m-%dT%H:%M:%SZ)"
        echo "bytes $(wc -c <"$partial.dump" | tr -d ' ')"
        echo "sha256 ${digest%% *}"
        cat "$work/counts"
    } >"$partial.manifest"
    grep -q '^table ' "$partial.manifest" || fail 1 "no backup was made: the database has no tables of the services"
    sync "$partial.dump" "$partial.manifest" 2>/dev/null || sync
    # Rename the manifest first, so that a dump with its final name always has its manifest.
    mv "$partial.manifest" "$target.manifest"
    mv "$partial.dump" "$target.dump"
    partial=""
    sync "$backup_dir" 2>/dev/null || sync
    say "backup completed: $target.dump, $(sed -n 's/^bytes //p' "$target.manifest") bytes, $(rows_of "$target.manifest")"
}

# verify FILE: restore a backup into a scratch database, and compare the row counts of all tables with its manifest.
verify() {
    check_file "$1"
    manifest="${1%.dump}.manifest"
    [ -f "$manifest" ] || fail 3 "$1: cannot be compared, because it has no manifest"
    drop_old_scratch
    scratch="svgx_verify_$(date -u +%Y%m%d_%H%M%S)_$$"
    sql admin --command="CREATE DATABASE \"$scratch\" TEMPLATE template0" 2>"$work/errors" || {
        scratch=""
        fail 3 "the scratch database cannot be created: $(tail -n 1 "$work/errors"); set POSTGRES_ADMIN_URL to a role that may create databases"
    }
    use_server scratch "${POSTGRES_ADMIN_URL:-$POSTGRES_URL}" POSTGRES_ADMIN_URL "$scratch"
    say "verifying $1 in the database $scratch"
    restore scratch "$1" || fail 3 "$1: cannot be restored: $(restore_errors)"
    compare_counts scratch "$manifest" || fail 3 "$1: the restored tables differ from the manifest"
    drop_scratch || fail 3 "the scratch database $scratch cannot be dropped"
    scratch=""
    { cat "$manifest"; echo "verified $(date -u +%Y-%m-%dT%H:%M:%SZ)"; } >"$manifest.new"
    mv "$manifest.new" "$manifest"
    say "verified: $1, $(rows_of "$manifest")"
}

# Delete old backups. The age comes from the time in the name, because copying a file changes the file's own time.
# The newest backup has the position 1.
delete_old() {
    oldest_kept=0
    if [ "$keep_days" -gt 0 ]; then
        oldest_kept="$(date -u -d "@$(($(date +%s) - keep_days * 86400))" +%Y%m%d%H%M%S)"
    fi
    position="$(backups | wc -l)"
    backups | while read -r file; do
        stamp="$(basename "$file" .dump | tr -cd 0-9)"
        # The braces are needed, because the shell gives && and || the same precedence.
        if { [ "$position" -gt "$keep_min" ] && [ "$stamp" -lt "$oldest_kept" ]; } \
            || { [ "$keep_max" -gt 0 ] && [ "$position" -gt "$keep_max" ]; }; then
            rm -f "$file" "${file%.dump}.manifest"
            say "deleted $file"
        fi
        position=$((position - 1))
    done
}

action=backup
verifying=""
[ "${BACKUP_VERIFY:-}" != true ] || verifying=yes
file=""
while [ $# -gt 0 ]; do
    case "$1" in
        --verify) verifying=yes ;;
        --check)
            [ $# -gt 1 ] || { usage >&2; exit 2; }
            action=check
            file="$2"
            shift ;;
        --list) action=list ;;
        --help | -h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
for setting in "BACKUP_KEEP_DAYS=$keep_days" "BACKUP_KEEP_MIN=$keep_min" "BACKUP_KEEP_MAX=$keep_max"; do
    case "${setting#*=}" in
        "" | *[!0-9]* | ??????*) fail 2 "${setting%%=*} must be a whole number below 100000" ;;
    esac
done
# In the arithmetic of the shell, a number with a leading zero is octal.
keep_days="${keep_days#"${keep_days%%[!0]*}"}"
keep_days="${keep_days:-0}"
if [ "$keep_max" -gt 0 ] && [ "$keep_max" -lt "$keep_min" ]; then
    fail 2 "BACKUP_KEEP_MAX ($keep_max) must not be below BACKUP_KEEP_MIN ($keep_min)"
fi
if [ "$action" = list ]; then
    list
    exit 0
fi
[ -n "${POSTGRES_URL:-}" ] || fail 2 "POSTGRES_URL is not set"
require psql pg_dump pg_restore sha256sum
make_work
use_server source "$POSTGRES_URL" POSTGRES_URL
use_server admin "${POSTGRES_ADMIN_URL:-$POSTGRES_URL}" POSTGRES_ADMIN_URL
if [ "$action" = check ]; then
    [ "$file" != latest ] || file="$(backups | tail -n 1)"
    [ -n "$file" ] || fail 3 "there is no backup in $backup_dir"
    verify "$file"
    exit 0
fi
make_backup
# A backup that cannot be restored must not displace older ones.
[ -z "$verifying" ] || verify "$target.dump"
delete_old
