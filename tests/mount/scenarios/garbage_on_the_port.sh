# shellcheck shell=bash disable=SC2034
# Strangers who send anything to a provider's port disturb nobody.
matrix=none
limit_s=120
key=yes

send() {
  timeout 5 bash -c "cat >/dev/tcp/127.0.0.1/${PROVIDER_PORT[p1]}" 2>/dev/null || true
}

send_to_socket() {
  timeout 5 python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
    s.recv(4096)
except OSError:
    pass' "$WORK/p1.sock" || true
}

scenario() {
  local i
  TRANSPORT=tcp
  [[ -w /dev/fuse ]] || skip "no /dev/fuse here"
  provider_start p1 128M
  rramfs_mount "$MNT" "providers=$(provider_list 1 128M)"
  random_file "$WORK/data" 32
  cp "$WORK/data" "$MNT/data"
  step "noise"
  for ((i = 0; i < 20; ++i)); do
    head -c $((i * 997)) /dev/urandom | send
    head -c $((i * 997)) /dev/urandom | send_to_socket
  done
  head -c 10M /dev/zero | send
  printf 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n' | send
  step "connections that say nothing"
  for ((i = 0; i < 50; ++i)); do
    (exec 3<>"/dev/tcp/127.0.0.1/${PROVIDER_PORT[p1]}" && sleep 2) 2>/dev/null &
  done
  sleep 0.5
  drop_caches
  cmp "$WORK/data" "$MNT/data"
  ! process_gone "${PROVIDER_PID[p1]}" || fail "the provider ended"
  expect_at_least "protocol errors counted" "$(provider_counter p1 protocol_errors)" 1
  expect_equal "leases" "$(provider_counter p1 leases)" 1
}
