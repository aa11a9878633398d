# memcached: 4 threads with libevent; 20 connections at once from python3.
need memcached memcached
need python3 python3
version=$(memcached -V)
start_daemons
serve memcached -u "$(id -un)" -l $S -p 11211 -t 4 -U 0
wait_for_listener 11211
on_client python3 - $S <<'PYTHON' >"$work/output" 2>&1 || fail "the client: $(tail -n 1 "$work/output")"
import socket, sys, threading

failures = []


def client(number):
    try:
        with socket.create_connection((sys.argv[1], 11211)) as connection:
            stream = connection.makefile("rwb")
            for turn in range(100):
                value = bytes([97 + (number + turn) % 26]) * 1000
                stream.write(b"set k%d 0 0 1000\r\n%s\r\nget k%d\r\n" % (number, value, number))
                stream.flush()
                assert stream.readline() == b"STORED\r\n"
                assert stream.readline() == b"VALUE k%d 0 1000\r\n" % number
                assert stream.read(1002) == value + b"\r\n"
                assert stream.readline() == b"END\r\n"
    except BaseException as failure:
        failures.append(failure)


threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(f"{failures[0]!r}" if failures else 0)
PYTHON
expect_crossed 4000000
note="works: 4 threads, 20 connections, 2,000 values there and back"
