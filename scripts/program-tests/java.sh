# Java: sockets of java.net and channels of java.nio with a selector.
need javac default-jdk-headless
version=$(java --version | sed -n '1p')
start_daemons
javac -d "$work" "$tests/Echo.java" || fail "javac says $?"
serve java -cp "$work" Echo serve $S 8080
wait_for_listener 8080
on_client java -cp "$work" Echo ask $S 8080 >"$work/output" 2>&1 || fail "the client: $(tail -n 1 "$work/output")"
expect_crossed $((20 * 2 * 200000))
note="works: java.net.Socket in 10 threads, java.nio with a selector, 10 connections"
