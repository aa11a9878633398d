# bash: /dev/tcp.
need bash bash
need python3 python3
version="bash $BASH_VERSION"
start_daemons
mkdir "$work/www"
head -c 100000 /dev/urandom >"$work/www/file"
serve python3 -m http.server --directory "$work/www" --bind $S 8080
wait_for_listener 8080
on_client bash -c "exec 3<>/dev/tcp/$S/8080 && printf 'GET /file HTTP/1.0\r\n\r\n' >&3 && cat <&3" >"$work/answer" || fail "bash says $?"
tail -c 100000 "$work/answer" | cmp -s - "$work/www/file" || fail "the file arrived changed"
on_client bash -c ": 3<>/dev/tcp/$S/9" 2>/dev/null && fail "a port where nobody listens was not refused"
expect_crossed 100000
note="works: /dev/tcp, and a refused connection is one"
