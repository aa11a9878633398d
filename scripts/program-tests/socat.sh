# socat: a forking server that runs a program on each connection, and a client of it.
need socat socat
version=$(socat -V | sed -n 's/^socat version \([^ ]*\).*/socat \1/p')
start_daemons
head -c 3000000 /dev/urandom >"$work/file"
serve socat "TCP-LISTEN:7000,bind=$S,fork,reuseaddr" EXEC:cat
wait_for_listener 7000
on_client socat -t 30 - "TCP:$S:7000" <"$work/file" >"$work/got" || fail "socat says $?"
cmp -s "$work/file" "$work/got" || fail "the file came back changed"
serve socat "TCP-LISTEN:7001,bind=$S,fork,reuseaddr,nodelay,keepalive" SYSTEM:'echo $SOCAT_PEERADDR'
wait_for_listener 7001
[ "$(on_client socat - "TCP:$S:7001,nodelay")" = $C ] || fail "the server does not see its peer's address"
expect_crossed 6000000
note="works: fork, EXEC, names of both ends"
