# iperf3: one and four streams, both directions.
need iperf3 iperf3
version=$(iperf3 --version | sed -n '1s/^\(iperf [^ ]*\).*/\1/p')
start_daemons
serve iperf3 -s -B $S
wait_for_listener 5201
rates=
for options in "-P 1" "-P 4" "-P 1 -R" "-P 4 -R"; do
    wait_for "the server" "$chitcp sockets -s $work/server | awk '/:5201 / && !/LISTEN/ { n++ } END { exit n > 0 }'"
    # shellcheck disable=SC2086
    on_client iperf3 -c $S -B $C -t 2 -J $options >"$work/json" || fail "$options: $(sed -n 's/.*"error":[^"]*//p' "$work/json")"
    rate=$(python3 -c "import json,sys; print(round(json.load(open(sys.argv[1]))['end']['sum_received']['bits_per_second']/1e9,1))" "$work/json") || fail "$options: no rate"
    [ "$rate" != 0.0 ] || fail "$options: nothing came through"
    rates="$rates${rates:+, }$options: $rate"
done
expect_crossed 10000000
# One stream over the kernel's TCP, for comparison.
iperf3 -s -B $S -p 5202 >>"$work/output" 2>&1 &
pids+=($!)
wait_for "iperf3 on the kernel's TCP" "iperf3 -c $S -B $C -p 5202 -t 2 -J >'$work/kernel.json'"
kernel=$(python3 -c "import json,sys; print(round(json.load(open(sys.argv[1]))['end']['sum_received']['bits_per_second']/1e9,1))" "$work/kernel.json")
note="works, Gbit/s: $rates (kernel, -P 1: $kernel)"
