# git: a repository cloned from git daemon and over python3 -m http.server, and rsync from its daemon.
need git git
need rsync rsync
need python3 python3
version=$(git --version)
start_daemons
git init -q -b main "$work/served/project" 2>>"$work/output" || fail "git init says $?"
head -c 3000000 /dev/urandom >"$work/served/project/file"
(cd "$work/served/project" && git add file && git -c user.name=t -c user.email=t@example.org commit -q -m one && git update-server-info) >>"$work/output" 2>&1 || fail "git commit failed"
serve git daemon --export-all --base-path="$work/served" --listen=$S --port=9418 --reuseaddr
wait_for_listener 9418
on_client git clone -q git://$S/project "$work/clone" 2>>"$work/output" || fail "git clone says $?"
cmp -s "$work/clone/file" "$work/served/project/file" || fail "the clone differs"
serve python3 "$tests/http_server.py" $S 8080 "$work/served"
wait_for_listener 8080
on_client git clone -q http://$S:8080/project/.git "$work/by-http" 2>>"$work/output" || fail "git clone over HTTP says $?"
cmp -s "$work/by-http/file" "$work/served/project/file" || fail "the clone over HTTP differs"
printf 'use chroot = no\n[served]\npath = %s\nuid = %s\ngid = %s\n' "$work/served" "$(id -u)" "$(id -g)" >"$work/rsyncd.conf"
serve rsync --daemon --no-detach --address=$S --port=8730 --config="$work/rsyncd.conf"
wait_for_listener 8730
on_client rsync -a rsync://$S:8730/served/ "$work/mirror/" || fail "rsync says $?"
cmp -s "$work/mirror/project/file" "$work/served/project/file" || fail "the mirror differs"
expect_crossed 9000000
note="works: git daemon, git over HTTP, rsync's daemon"
