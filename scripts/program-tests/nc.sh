# nc (OpenBSD's): a file to a listening nc, and the end of the stream after it.
need nc netcat-openbsd
version=$(dpkg-query -W -f 'netcat-openbsd ${Version}' netcat-openbsd 2>/dev/null)
start_daemons
head -c 3000000 /dev/urandom >"$work/file"
serve sh -c "exec nc -l $S 7000 >'$work/got'"
wait_for_listener 7000
on_client nc -N $S 7000 <"$work/file" || fail "nc says $?"
wait_for "the file" "cmp -s '$work/file' '$work/got'"
on_client nc -z -w 5 $S 7001 && fail "nc -z finds a listener where there is none"
serve sh -c "echo answer | exec nc -l -N $S 7002"
wait_for_listener 7002
[ "$(on_client nc -d $S 7002)" = answer ] || fail "nothing came from the listening side"
expect_crossed 3000000
note="works: -l, -N, -z"
