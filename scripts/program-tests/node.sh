# Node: an HTTP server and a client with 20 connections at once.
need node nodejs
version="node $(node --version)"
start_daemons
serve node "$tests/http.js" serve $S 8080
wait_for_listener 8080
on_client node "$tests/http.js" ask $S 8080 >"$work/output" 2>&1 || fail "the client: $(tail -n 1 "$work/output")"
expect_crossed $((20 * 2 * 1000000))
note="works: http, 20 connections at once, 1 MB there and back on each"
