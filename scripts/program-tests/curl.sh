# curl: one download, 50 at once, 100 MiB with its hash, and an upload.
need curl curl
need python3 python3
version=$(curl --version | sed -n '1s/^\(curl [^ ]*\).*/\1/p')
start_daemons
mkdir "$work/www"
head -c 104857600 /dev/urandom >"$work/www/large"
for i in $(seq 50); do echo "file $i" >"$work/www/$i"; done
serve python3 "$tests/http_server.py" $S 8080 "$work/www"
wait_for_listener 8080
[ "$(on_client curl -sS http://$S:8080/7)" = "file 7" ] || fail "one download went wrong"
on_client curl -sS -Z --parallel-max 50 --parallel-immediate -o "$work/#1" "http://$S:8080/[1-50]" 2>>"$work/output" || fail "50 at once: curl says $?"
for i in $(seq 50); do cmp -s "$work/www/$i" "$work/$i" || fail "of 50 downloads at once, number $i went wrong"; done
on_client curl -sS -o "$work/got" http://$S:8080/large || fail "100 MiB: curl says $?"
[ "$(sha256sum <"$work/got")" = "$(sha256sum <"$work/www/large")" ] || fail "100 MiB arrived changed"
got=$(on_client curl -sS -T "$work/www/large" http://$S:8080/uploaded) || fail "upload: curl says $?"
[ "$got" = "$(sha256sum <"$work/www/large" | cut -d' ' -f1)" ] || fail "the upload arrived changed"
expect_crossed $((2 * 104857600))
note="works: one, 50 at once, 100 MiB down and up with their hashes"
