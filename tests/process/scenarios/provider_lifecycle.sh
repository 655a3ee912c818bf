# shellcheck shell=bash disable=SC2034
# A provider says one line when it is ready, answers for its counters, and ends well on SIGTERM.
matrix=none
limit_s=60
key=yes

counters() {
  "$RRAM_PROVIDER" --status "$1"
}

scenario() {
  local key
  provider_start p1 64M
  expect_equal "lines on standard output" "$(wc -l <"$WORK/p1.out")" 1
  expect_match "ready line" "$(cat "$WORK/p1.out")" "64.*MiB.*${PROVIDER_PORT[p1]}"
  step "counters, by both ways"
  counters "unix://$WORK/p1.sock" >"$WORK/by-socket.json"
  counters "tcp://127.0.0.1:${PROVIDER_PORT[p1]}" >"$WORK/by-tcp.json"
  for key in pool_bytes leased_bytes free_bytes reclaiming_bytes leases connections reads writes \
    read_bytes written_bytes rejected_connections protocol_errors uptime_ms; do
    jq -e "has(\"$key\")" "$WORK/by-socket.json" >/dev/null || fail "no $key by socket"
    jq -e "has(\"$key\")" "$WORK/by-tcp.json" >/dev/null || fail "no $key by tcp"
  done
  expect_equal "pool" "$(jq .pool_bytes "$WORK/by-socket.json")" $((64 * 1024 * 1024))
  expect_equal "free" "$(jq .free_bytes "$WORK/by-socket.json")" $((64 * 1024 * 1024))
  step "end"
  provider_stop p1
  [[ ! -e $WORK/p1.sock ]] || fail "the socket is still there"
  expect_equal "lines on standard output" "$(wc -l <"$WORK/p1.out")" 1
  step "the same place again, also after kill -9"
  provider_start p1 64M
  provider_kill p1
  provider_start p1 64M
}
