# redis-server under redis-benchmark: 50 clients, 10,000 requests, pipelining.
need redis-server redis-server
version=$(redis-server --version | sed -n 's/.* v=\([^ ]*\).*/redis \1/p')
start_daemons
serve redis-server --bind $S --port 6379 --save '' --appendonly no --dir "$work" --protected-mode no
wait_for_listener 6379
[ "$(on_client redis-cli -h $S ping)" = PONG ] || fail "redis-cli got no PONG"
on_client redis-benchmark -h $S -n 10000 -c 50 -q -t set,get,lrange_100 >"$work/one" 2>&1 || fail "redis-benchmark says $?"
on_client redis-benchmark -h $S -n 10000 -c 50 -P 16 -q -t set,get >"$work/piped" 2>&1 || fail "redis-benchmark -P 16 says $?"
rate() { tr '\r' '\n' <"$1" | sed -n 's/^GET: \([0-9]*\)[0-9.]* requests per second.*/\1/p' | tail -n 1; }
[ -n "$(rate "$work/one")" ] && [ -n "$(rate "$work/piped")" ] || fail "redis-benchmark gave no rate"
expect_crossed 2000000
# The same over the kernel's TCP, for comparison.
redis-server --bind $S --port 6380 --save '' --appendonly no --dir "$work" --protected-mode no >>"$work/output" 2>&1 &
pids+=($!)
wait_for "redis on the kernel's TCP" "redis-cli -h $S -p 6380 ping"
redis-benchmark -h $S -p 6380 -n 10000 -c 50 -q -t get >"$work/kernel" 2>&1
redis-benchmark -h $S -p 6380 -n 10000 -c 50 -P 16 -q -t get >"$work/kernel-piped" 2>&1
note="works: GET $(rate "$work/one")/s, with -P 16 $(rate "$work/piped")/s (kernel: $(rate "$work/kernel"), $(rate "$work/kernel-piped"))"
