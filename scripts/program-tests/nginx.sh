# nginx: 2 workers of a user of their own, as server of files and as proxy in front of itself.
need nginx nginx
need curl curl
[ "$(id -u)" = 0 ] || skip "workers of another user need root"
version=$(nginx -v 2>&1 | sed 's,.*nginx/,nginx ,')
start_daemons www-data
mkdir "$work/www" "$work/tmp"
head -c 20000000 /dev/urandom >"$work/www/large"
for i in $(seq 100); do echo "file $i" >"$work/www/$i"; done
cat >"$work/nginx.conf" <<CONF
user www-data;
worker_processes 2;
daemon off;
pid $work/nginx.pid;
error_log $work/output;
events { worker_connections 512; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path $work/tmp/body;
    proxy_temp_path $work/tmp/proxy;
    fastcgi_temp_path $work/tmp/fastcgi;
    uwsgi_temp_path $work/tmp/uwsgi;
    scgi_temp_path $work/tmp/scgi;
    server { listen $S:8080; root $work/www; location = /who { return 200 \$remote_addr; } }
    upstream files { server $S:8080; keepalive 8; }
    server {
        listen $S:8081;
        location / { proxy_pass http://files; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
}
CONF
serve nginx -c "$work/nginx.conf"
wait_for_listener 8081
for port in 8080 8081; do
    on_client curl -sS -o "$work/got" http://$S:$port/large || fail "port $port: curl says $?"
    cmp -s "$work/got" "$work/www/large" || fail "port $port: the file arrived changed"
    on_client curl -sS -Z --parallel-max 50 --parallel-immediate -o "$work/#1" "http://$S:$port/[1-100]" 2>>"$work/output" || fail "port $port, 50 at once: curl says $?"
    for i in $(seq 100); do cmp -s "$work/www/$i" "$work/$i" || fail "port $port: file $i went wrong"; done
done
[ "$(on_client curl -sS http://$S:8080/who)" = $C ] || fail "the server does not see its peer's address"
ps -o user= --ppid "${pids[-1]}" | grep -q www-data || fail "no worker of www-data is there"
expect_crossed 40000000
note="works: server and proxy, 2 workers of www-data, sendfile, keepalive upstream"
