# PostgreSQL: a server that forks for each connection; psql, COPY and 8 clients at once.
need psql postgresql
[ "$(id -u)" = 0 ] || skip "the server needs a user of its own, and root to start it"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
[ -n "$bin" ] || skip "the server is not installed"
version=$("$bin/postgres" --version | sed 's/ (Debian.*//; s/postgres (PostgreSQL)/PostgreSQL/')
start_daemons postgres
mkdir "$work/data"
chown postgres "$work/data"
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
(cd / && as_postgres "$bin/initdb" -D "$work/data" -A trust -U postgres >"$work/output" 2>&1) || fail "initdb says $?"
echo "host all all 127.0.0.0/8 trust" >>"$work/data/pg_hba.conf"
(cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups "$chitcp" run --socket "$work/server" -- \
    "$bin/postgres" -D "$work/data" -c listen_addresses=$S -c port=5432 -c unix_socket_directories="$work/data") >>"$work/output" 2>&1 &
pids+=($!)
wait_for_listener 5432
ask() { on_client psql -q -X -v ON_ERROR_STOP=1 -h $S -U postgres "$@"; }
wait_for "the server" "ask -c 'select 1'"
ask -c "create table numbers (n int, t text)" || fail "psql says $?"
seq 100000 | sed 's/.*/&\trow &/' >"$work/rows"
ask -c "\\copy numbers from '$work/rows'" || fail "COPY to the server failed"
[ "$(ask -At -c 'select count(*), sum(n) from numbers')" = "100000|5000050000" ] || fail "the rows are not all there"
ask -c "\\copy (select n, t from numbers order by n) to '$work/back'" || fail "COPY from the server failed"
cmp -s "$work/rows" "$work/back" || fail "the rows came back changed"
jobs=()
for i in $(seq 8); do
    ask -At -c "select sum(n) from numbers where n % 8 = $i - 1" >"$work/sum$i" &
    jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || fail "one of 8 clients at once failed"; done
[ "$(awk "{s += \$1} END {printf \"%.0f\", s}" "$work"/sum?)" = 5000050000 ] || fail "the sums are wrong"
[ "$(ask -At -c 'select host(inet_client_addr())')" = $C ] || fail "the server does not see its peer's address"
expect_crossed 3000000
note="works: forking server of its own user, COPY both ways, 8 clients at once"
