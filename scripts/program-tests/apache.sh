# Apache httpd: several processes with threads, workers of a user of their own; ab with 20 connections at once.
need apache2 apache2-bin
need ab apache2-utils
need curl curl
[ "$(id -u)" = 0 ] || skip "workers of another user need root"
version=$(apache2 -v | sed -n 's,.*Apache/\([^ ]*\).*,Apache \1,p')
start_daemons www-data
mkdir "$work/www"
head -c 20000000 /dev/urandom >"$work/www/large"
echo small >"$work/www/small"
modules=/usr/lib/apache2/modules
cat >"$work/httpd.conf" <<CONF
ServerRoot $work
ServerName test
PidFile $work/httpd.pid
DefaultRuntimeDir $work
ErrorLog $work/output
User www-data
Group www-data
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule dir_module $modules/mod_dir.so
LoadModule mime_module $modules/mod_mime.so
TypesConfig /etc/mime.types
StartServers 2
ServerLimit 4
ThreadsPerChild 25
MaxRequestWorkers 100
Listen $S:8080
DocumentRoot $work/www
<Directory $work/www>
    Require all granted
</Directory>
CONF
[ -e /etc/mime.types ] || sed -i '/TypesConfig/d; /mime_module/d' "$work/httpd.conf"
serve apache2 -f "$work/httpd.conf" -D FOREGROUND
wait_for_listener 8080
on_client curl -sS -o "$work/got" http://$S:8080/large || fail "curl says $?"
cmp -s "$work/got" "$work/www/large" || fail "the file arrived changed"
on_client ab -q -n 1000 -c 20 http://$S:8080/small >"$work/ab" 2>&1 || fail "ab says $?"
grep -q '^Failed requests: *0$' "$work/ab" || fail "ab has failed requests"
on_client ab -q -k -n 2000 -c 20 http://$S:8080/small >"$work/ab" 2>&1 || fail "ab -k says $?"
grep -q '^Failed requests: *0$' "$work/ab" || fail "ab -k has failed requests"
expect_crossed 20000000
note="works: event MPM, 20 MB, ab with 20 connections, with and without keepalive"
