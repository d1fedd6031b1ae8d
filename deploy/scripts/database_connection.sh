# shellcheck shell=sh
# Functions of backup_database.sh and restore_database.sh: connections from URLs, manifests, counts of tables.
# The scripts run in the sh of Debian and in that of Alpine. Passwords are only in files that no other user can read.

# The schemas of the services. Other objects in the database, such as extensions, are neither saved nor replaced.
SCHEMAS="auth state"

# say TEXT...: print the text with the time.
say() {
    printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"
}

# fail STATUS TEXT...: print the text as an error, and end the script with this status.
fail() {
    status="$1"
    shift
    printf '%s ERROR: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2
    exit "$status"
}

# Print the text with its percent escapes replaced. A part of a URL, such as a password, may contain percent escapes.
decode() {
    rest="$1"
    while [ "${rest#*%}" != "$rest" ]; do
        printf '%s' "${rest%%%*}"
        rest="${rest#*%}"
        case "$rest" in
            [0-9A-Fa-f][0-9A-Fa-f]*)
                printf '%b' "\\0$(printf '%03o' "0x${rest%"${rest#??}"}")"
                rest="${rest#??}" ;;
            *) printf '%%' ;;
        esac
    done
    printf '%s' "$rest"
}

# use_server NAME URL VARIABLE [DATABASE]: add NAME to the service file of PostgreSQL's programs, so that they connect
# to the URL's server with `service=NAME`. VARIABLE is the setting that an error names. DATABASE replaces the database
# of the URL. Sets `server_database` and `server_user`. The service file and the password are in the private folder
# `work`, because a URL as an argument would show its password in the list of processes. Of several hosts, the writable
# one is used, like in the services, unless the URL has `target_session_attrs`.
use_server() {
    name="$1"
    address="${2#postgresql://}"
    address="${address#postgres://}"
    [ "$address" != "$2" ] || fail 2 "$3 must be like postgresql://user:password@host:5432/database"
    query=""
    case "$address" in
        *\?*) query="${address#*\?}"; address="${address%%\?*}" ;;
    esac
    database=""
    case "$address" in
        */*) database="$(decode "${address#*/}")"; address="${address%%/*}" ;;
    esac
    account=""
    case "$address" in
        *@*) account="${address%@*}"; address="${address##*@}" ;;
    esac
    password=""
    case "$account" in
        *:*) password="$(decode "${account#*:}")"; account="${account%%:*}" ;;
    esac
    user="$(decode "$account")"
    {
        printf '[%s]\nfallback_application_name=svgx-database-scripts\n' "$name"
        split_hosts "$address"
        old_ifs="$IFS"
        IFS='&'
        set -f
        # shellcheck disable=SC2086  # the parameters are separated here
        set -- "$1" "$2" "$3" "${4:-}" $query
        IFS="$old_ifs"
        set +f
        other="$4"
        shift 4
        role=""
        case "$address" in
            *,*) role=read-write ;;
        esac
        for parameter in "$@"; do
            key="${parameter%%=*}"
            value="$(decode "${parameter#*=}")"
            case "$key" in
                user) user="$value" ;;
                password) password="$value" ;;
                dbname | database) database="$value" ;;
                target_session_attrs) role="$value" ;;
                host | port | passfile | options | application_name | connect_timeout | load_balance_hosts \
                    | channel_binding | gssencmode | ssl* | keepalives*)
                    printf '%s=%s\n' "$key" "$value" ;;
                *) ;; # parameters of the services' own driver
            esac
        done
        [ -z "$role" ] || printf 'target_session_attrs=%s\n' "$role"
        [ -z "$user" ] || printf 'user=%s\n' "$user"
        printf 'dbname=%s\n' "${other:-${database:-$user}}"
        # Unlike a service file, a password file keeps spaces at the end of the password.
        if [ -n "$password" ]; then
            printf '*:*:*:*:%s\n' "$(printf '%s' "$password" | sed 's/[\\:]/\\&/g')" >"$work/$name.password"
            printf 'passfile=%s\n' "$work/$name.password"
        fi
    } >>"$work/services"
    PGSERVICEFILE="$work/services"
    export PGSERVICEFILE
    case "$address" in
        *,*) pin_host "$name" ;;
    esac
    # shellcheck disable=SC2034  # used by restore_database.sh
    server_database="${database:-$user}" server_user="$user"
}

# pin_host NAME: let `sql` keep to the host that NAME connects to now. Otherwise, libpq would stop at a standby that has
# not received a new database yet.
pin_host() {
    printf '%s\n' "\\echo host = :'HOST' port = :PORT" \
        | psql --no-psqlrc --quiet --dbname="service=$1 dbname=postgres" --file=- >"$work/$1.host" 2>/dev/null || true
}

# Print `host=` and `port=` for `host:port,[::1]:port`. A host without a port gets the port 5432.
split_hosts() {
    hosts=""
    ports=""
    rest="$1,"
    [ "$rest" != "," ] || return 0
    while [ -n "$rest" ]; do
        each="${rest%%,*}"
        rest="${rest#*,}"
        port=""
        case "$each" in
            \[*\]:*) port="${each##*:}"; each="${each%:*}" ;;
            \[*\]) ;;
            *:*) port="${each##*:}"; each="${each%:*}" ;;
        esac
        each="${each#\[}"
        hosts="$hosts${hosts:+,}$(decode "${each%\]}")"
        ports="$ports${ports:+,}${port:-5432}"
    done
    printf 'host=%s\nport=%s\n' "$hosts" "$ports"
}

# sql SERVICE ARGUMENTS...: run psql without the user's settings. It stops at the first error. In a background process,
# set `replace` to `exec` before, so that psql itself is the process that end_of_script stops.
replace=""
sql() {
    service="$1"
    shift
    $replace psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 \
        --dbname="service=$service $(cat "$work/$service.host" 2>/dev/null || true)" "$@"
}

# Print SQL that prints `table COUNT NAME` for each table of the services, in the order of the names.
counting_sql() {
    cat <<'SQL'
SELECT format('SELECT %L || count(*) || %L FROM %I.%I', 'table ', format(' %I.%I', n.nspname, c.relname), n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname IN ('auth', 'state')
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
\gexec
SQL
}

# Print SQL that reads the grants of the services' schemas, tables, columns and sequences into the variable `grants` of
# psql.
reading_grants_sql() {
    cat <<'SQL'
SELECT coalesce(json_agg(g), '[]') AS grants FROM (
    SELECT o.kind, o.name, o.part, a.privilege_type AS privilege, a.is_grantable AS grantable,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
    FROM (
        SELECT 'SCHEMA' AS kind, quote_ident(nspname) AS name, NULL AS part, nspowner AS owner, nspacl AS acl
        FROM pg_namespace WHERE nspname IN ('auth', 'state')
        UNION ALL
        SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, format('%I.%I', nspname, relname), NULL, relowner,
            relacl
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname IN ('auth', 'state')
        UNION ALL
        SELECT 'TABLE', format('%I.%I', nspname, relname), attname, relowner, attacl
        FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE nspname IN ('auth', 'state') AND NOT attisdropped
    ) o, aclexplode(o.acl) a
    WHERE a.grantee <> o.owner
) g \gset
SQL
}

# Print SQL that repeats the grants of the variable `grants`. Leaves out tables and columns that do not exist any more.
granting_sql() {
    cat <<'SQL'
SELECT format('GRANT %s%s ON %s %s TO %s%s', privilege, ' (' || quote_ident(part) || ')', kind, name, role,
    CASE WHEN grantable THEN ' WITH GRANT OPTION' END)
FROM json_to_recordset(:'grants')
    AS g (kind text, name text, part text, privilege text, role text, grantable boolean)
WHERE CASE kind
    WHEN 'SCHEMA' THEN to_regnamespace(name) IS NOT NULL
    ELSE to_regclass(name) IS NOT NULL AND (part IS NULL OR EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = part AND NOT attisdropped))
    END
\gexec
SQL
}

# make_work: create the private folder `work`. Each script defines end_of_script, which removes the folder at the end.
make_work() {
    umask 077
    work="$(mktemp -d "${TMPDIR:-/tmp}/svgx-database.XXXXXX")"
    trap 'end_of_script' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# require PROGRAM...: fail unless each program exists.
require() {
    for each in "$@"; do
        command -v "$each" >/dev/null 2>&1 || fail 2 "$each is not installed: install the clients of PostgreSQL"
    done
}

# in_background COMMAND...: run the command in the background and wait for it. sh handles a signal during this wait, but
# not during a foreground command. The script then ends, and end_of_script stops the processes in `children`.
in_background() {
    (
        replace="exec"
        "$@"
    ) &
    children="$!"
    wait "$children" && code=0 || code=$?
    children=""
    return "$code"
}

# restore SERVICE FILE: replace the schemas of the services by the backup, in one transaction, and repeat the grants of
# the replaced schemas. Return whether it was committed. psql runs in the background, with its input from a named pipe.
# So end_of_script can stop psql when the script ends early, and PostgreSQL then undoes everything.
restore() {
    rm -f "$work/pipe" "$work/unpacked" "$work/committed"
    mkfifo "$work/pipe"
    restore_statements "$2" >"$work/pipe" &
    children="$!"
    (
        replace="exec"
        sql "$1" --set=VERBOSITY=terse --file=- <"$work/pipe" >/dev/null 2>"$work/errors"
    ) &
    children="$! $children"
    for each in $children; do
        wait "$each" || true
    done
    children=""
    [ -f "$work/committed" ]
}

# Print the statements of a restore. Without the COMMIT at the end, PostgreSQL undoes all of them.
restore_statements() {
    echo "BEGIN;"
    echo "SET LOCAL lock_timeout = '60s';"
    reading_grants_sql
    # Drop the whole schemas, also tables that a newer version made and the backup lacks. Otherwise the migrations of
    # that version would find these tables and fail later.
    for schema in $SCHEMAS; do
        echo "DROP SCHEMA IF EXISTS $schema CASCADE;"
    done
    unpack "$1" || return 1
    granting_sql
    echo "COMMIT;"
    printf '%s\n' "\\! touch $work/committed"
}

# unpack FILE: print the statements of the backup. In the first lines, before all data, pg_restore sets
# transaction_timeout. Servers before PostgreSQL 17 do not know this parameter, so it is set only where it exists.
unpack() {
    known="SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';"
    {
        pg_restore --clean --if-exists --no-owner --no-privileges --file=- "$1" 2>"$work/unpacking" \
            && touch "$work/unpacked"
    } | LC_ALL=C sed "1,20s/^SET transaction_timeout = 0;\$/$known/"
    [ -f "$work/unpacked" ]
}

# Print the last lines of the errors of `restore`.
restore_errors() {
    grep -hv NOTICE "$work/errors" "$work/unpacking" 2>/dev/null | tail -n 2 | tr '\n' ' '
}

# check_file FILE: fail with status 3 unless the file is an undamaged backup. Reads all of it, and changes nothing.
check_file() {
    [ -f "$1" ] || fail 3 "$1: there is no such file"
    [ "$(head -c 5 "$1")" = "PGDMP" ] || fail 3 "$1: is not a dump in pg_dump's custom format"
    manifest="${1%.dump}.manifest"
    if [ -f "$manifest" ]; then
        [ "$(head -n 1 "$manifest")" = "svgx-database-backup 1" ] || fail 3 "$manifest: has an unknown format"
        expected="$(sed -n 's/^sha256 //p' "$manifest")"
        found="$(sha256sum <"$1")"
        [ "$expected" = "${found%% *}" ] || fail 3 "$1: is damaged: its checksum is not the one of its manifest"
    fi
    pg_restore --list "$1" >"$work/contents" 2>"$work/errors" \
        || fail 3 "$1: cannot be read: $(tail -n 1 "$work/errors")"
    for schema in $SCHEMAS; do
        grep -q " SCHEMA - $schema " "$work/contents" || fail 3 "$1: is not a backup of SVGX Engine: it lacks the schema $schema"
    done
    # Unpack all data, because a truncated file still has its table of contents.
    in_background pg_restore --file=/dev/null "$1" 2>"$work/errors" \
        || fail 3 "$1: is damaged: $(tail -n 1 "$work/errors")"
}

# compare_counts SERVICE MANIFEST: return whether the tables have as many rows as the manifest states. Prints differences.
compare_counts() {
    grep '^table ' "$2" >"$work/expected" || true
    counting_sql >"$work/counting"
    in_background sql "$1" --file="$work/counting" >"$work/found" 2>"$work/errors" || return 1
    if cmp -s "$work/expected" "$work/found"; then
        return 0
    fi
    diff "$work/expected" "$work/found" >&2 || true
    return 1
}

# rows_of MANIFEST: print the numbers of tables and of rows in a manifest.
rows_of() {
    awk '$1 == "table" { tables += 1; rows += $2 } END { printf "%d tables, %d rows", tables, rows }' "$1"
}
