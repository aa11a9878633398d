# HAProxy: 4 threads, in front of python3 -m http.server; plain TCP with splicing, and HTTP.
need haproxy haproxy
need python3 python3
need curl curl
version=$(haproxy -v | sed -n '1s/^\(HAProxy\) version \([^ -]*\).*/\1 \2/p')
start_daemons
mkdir "$work/www"
head -c 20000000 /dev/urandom >"$work/www/large"
for i in $(seq 50); do echo "file $i" >"$work/www/$i"; done
cat >"$work/haproxy.cfg" <<CONF
global
    nbthread 4
    maxconn 500
defaults
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    option splice-auto
frontend http
    mode http
    bind $S:8081
    default_backend files
frontend tcp
    mode tcp
    bind $S:8082
    default_backend stream
backend files
    mode http
    server one $S:8080 check inter 500
backend stream
    mode tcp
    server one $S:8080
CONF
serve python3 "$tests/http_server.py" $S 8080 "$work/www"
wait_for_listener 8080
serve haproxy -db -f "$work/haproxy.cfg"
wait_for_listener 8082
for port in 8081 8082; do
    on_client curl -sS -o "$work/got" http://$S:$port/large || fail "port $port: curl says $?"
    cmp -s "$work/got" "$work/www/large" || fail "port $port: the file arrived changed"
    on_client curl -sS -Z --parallel-max 50 --parallel-immediate -o "$work/#1" "http://$S:$port/[1-50]" 2>>"$work/output" || fail "port $port, 50 at once: curl says $?"
    for i in $(seq 50); do cmp -s "$work/www/$i" "$work/$i" || fail "port $port: file $i went wrong"; done
done
expect_crossed 40000000
note="works: HTTP and TCP mode, 4 threads, splicing, health checks"
