# wget: a download with its hash from python3 -m http.server, and one that goes on where it was cut off.
need wget wget
need python3 python3
version=$(wget --version | sed -n '1s/^GNU \(Wget [^ ]*\).*/\1/p')
start_daemons
mkdir "$work/www"
head -c 20000000 /dev/urandom >"$work/www/file"
serve python3 "$tests/http_server.py" $S 8080 "$work/www"
wait_for_listener 8080
on_client wget -q -O "$work/got" http://$S:8080/file || fail "wget says $?"
cmp -s "$work/got" "$work/www/file" || fail "the file arrived changed"
on_client wget -q --spider --tries=1 http://$S:9/ && fail "a port where nobody listens was not refused"
expect_crossed 20000000
note="works: 20 MB with its hash; a refused connection is one"
