# shellcheck shell=bash disable=SC2034
# A provider without any right but CAP_IPC_LOCK, under a user of its own, does all of its work; other
# users of the host get nothing from its socket.
matrix=none
limit_s=90
needs="setpriv prlimit"

PROVIDER_USER=64123
OTHER_USER=64124

# write_wrapper FILE CAPABILITIES: a command that runs rram-provider as that user, with no memory
# that it may lock but by its capabilities ("-all" or "-all,+ipc_lock").
write_wrapper() {
  cat >"$1" <<SHELL
#!/bin/bash
exec prlimit --memlock=0:0 setpriv --reuid=$PROVIDER_USER --regid=$PROVIDER_USER --clear-groups \
  --bounding-set=$2 --inh-caps=$2 --ambient-caps=$2 --no-new-privs "$WORK/rram-provider" "\$@"
SHELL
  chmod 755 "$1"
}

value_in_status() {
  awk -v name="$2:" '$1 == name { print $2 }' "/proc/${PROVIDER_PID[$1]}/status"
}

as_other_user() {
  setpriv --reuid=$OTHER_USER --regid=$OTHER_USER --clear-groups "$@"
}

scenario() {
  [[ $EUID -eq 0 ]] || skip "only root can become another user"
  [[ -w /dev/fuse ]] || skip "no /dev/fuse here"
  # That user can reach the program and make its socket.
  install -m 755 "$RRAM_PROVIDER" "$WORK/rram-provider"
  chmod 711 "$(dirname "$WORK")"
  chown $PROVIDER_USER "$WORK"
  write_wrapper "$WORK/without-right" -all
  write_wrapper "$WORK/with-right" -all,+ipc_lock

  step "without the capability it says what is missing"
  next_port
  expect_failure timeout 20 "$WORK/without-right" --size 64M --unix "$WORK/p1.sock" \
    --listen "tcp://127.0.0.1:$LAST_PORT"
  expect_match "refusal" "$OUTPUT" "RLIMIT_MEMLOCK"

  step "with it, and nothing else, it runs"
  RRAM_PROVIDER=$WORK/with-right
  provider_start p1 64M
  expect_equal "its user" "$(value_in_status p1 Uid)" $PROVIDER_USER
  expect_equal "its capabilities" "$(value_in_status p1 CapEff)" 0000000000004000
  expect_equal "those it could gain" "$(value_in_status p1 CapBnd)" 0000000000004000
  expect_at_least "KiB of locked memory" "$(value_in_status p1 VmLck)" $((64 * 1024))
  expect_equal "owner and mode of the socket" "$(stat -c '%u %a' "$WORK/p1.sock")" \
    "$PROVIDER_USER 600"

  step "root mounts it, through shared memory and TCP, again and again"
  for TRANSPORT in shm tcp shm; do
    rramfs_mount "$MNT" "providers=$(endpoint p1)"
    random_file "$WORK/data" 40
    cp "$WORK/data" "$MNT/data"
    drop_caches
    cmp "$WORK/data" "$MNT/data"
    detach
    wait_until "$RETURN_S" "all memory is back, locked" provider_is_idle p1
    expect_at_least "KiB of locked memory" "$(value_in_status p1 VmLck)" $((64 * 1024))
  done

  step "other users stay outside"
  expect_failure as_other_user "$WORK/rram-provider" --status "unix://$WORK/p1.sock"
  expect_match "refusal by the mode" "$OUTPUT" "only root and the provider's user may"
  chmod 666 "$WORK/p1.sock"
  expect_failure as_other_user "$WORK/rram-provider" --status "unix://$WORK/p1.sock"
  expect_match "refusal by the provider" "$OUTPUT" "user $OTHER_USER is neither root nor"
}
