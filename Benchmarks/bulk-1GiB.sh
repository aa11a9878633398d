#!/usr/bin/env bash
# Two daemons move 1 GiB (or the number of MiB given) from one application to another; every byte is compared.
# usage: Benchmarks/bulk-1GiB.sh [MiB]
set -euo pipefail
cd "$(dirname "$0")/.."
mebibytes=${1:-1024}
[[ $mebibytes =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [MiB]" >&2; exit 64; }

swift build -c release --product chitcp >&2
chitcp=$(swift build -c release --show-bin-path)/chitcp
folder=$(mktemp -d)
children=()
finish() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

free=$(df --output=avail -m "$folder" | tail -1)
if ((free < mebibytes + 64)); then
    echo "$0: $folder has only $free MiB left for a file of $mebibytes MiB; choose another TMPDIR" >&2
    exit 1
fi
head -c "${mebibytes}M" /dev/urandom >"$folder/content"

export CHITCPD_PORT=$((20000 + RANDOM % 10000))
"$chitcp" daemon --address 127.0.0.1 --socket "$folder/a" --log "$folder/a.log" 2>/dev/null &
children+=($!)
"$chitcp" daemon --address 127.0.0.2 --socket "$folder/b" --log "$folder/b.log" 2>/dev/null &
children+=($!)
until [[ -S $folder/a.control && -S $folder/b.control ]]; do
    kill -0 "${children[0]}" "${children[1]}" || { echo "$0: a daemon did not start" >&2; exit 1; }
    sleep 0.05
done

# The receiver compares what arrives with the file as it arrives.
CHITCPD_SOCK=$folder/a "$chitcp" cat -l 7 </dev/null | cmp - "$folder/content" &
receiver=$!
until CHITCPD_SOCK=$folder/a "$chitcp" sockets | grep -q LISTEN; do sleep 0.05; done
start=$(date +%s%N)
CHITCPD_SOCK=$folder/b "$chitcp" cat 127.0.0.1 7 <"$folder/content" >/dev/null
wait "$receiver" || { echo "the bytes that arrived are not those that were sent" >&2; exit 1; }
end=$(date +%s%N)
awk -v n="$mebibytes" -v t=$((end - start)) \
    'BEGIN { printf "%d MiB arrived as they were sent: %.2f s, %.2f GB/s, reading and comparing the file included\n", n, t / 1e9, n * 1048576 / t }'
