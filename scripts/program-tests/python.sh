# python3: http.server as people start it, and asyncio with 50 connections at once.
need python3 python3
version=$(python3 --version)
start_daemons
mkdir "$work/www"
head -c 5000000 /dev/urandom >"$work/www/file"
serve python3 -m http.server --directory "$work/www" --bind $S 8080
wait_for_listener 8080
on_client python3 -c "import sys,urllib.request as u; open(sys.argv[2],'wb').write(u.urlopen(sys.argv[1]).read())" \
    http://$S:8080/file "$work/got" || fail "urllib failed"
cmp -s "$work/got" "$work/www/file" || fail "the file arrived changed"
serve python3 "$tests/asyncio_echo.py" serve $S 8081
wait_for_listener 8081
on_client python3 "$tests/asyncio_echo.py" ask $S 8081 >"$work/output" 2>&1 || fail "asyncio: $(tail -n 1 "$work/output")"
expect_crossed $((5000000 + 2 * 50 * 100 * 1000))
note="works: http.server and urllib; asyncio, 50 connections, 100 messages each"
