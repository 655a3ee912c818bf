# shellcheck shell=bash disable=SC2034
# A provider that may open no more files says so once, serves whom it knows, and takes up the others
# when it may again.
matrix=once
limit_s=60

STRANGERS=20

# Connections that say nothing; they end with this scenario.
connect_strangers() {
  local i fd
  for ((i = 0; i < STRANGERS; ++i)); do
    exec {fd}<>"/dev/tcp/127.0.0.1/${PROVIDER_PORT[p1]}"
    STRANGER_FDS+=("$fd")
  done
}

disconnect_strangers() {
  local fd
  for fd in "${STRANGER_FDS[@]}"; do exec {fd}>&-; done
}

complaints() {
  grep -c "cannot accept connections: Too many open files.*ulimit -n" "$WORK/p1.err"
}

has_complained() {
  [[ $(complaints) -ge 1 ]]
}

write_and_compare() {
  dd if="$WORK/data" of="$MNT/$1" bs=1M oflag=direct status=none
  cmp "$WORK/data" <(dd if="$MNT/$1" bs=1M iflag=direct status=none)
}

allow_files() {
  prlimit --pid "${PROVIDER_PID[p1]}" --nofile="$1:"
}

scenario() {
  local before
  declare -a STRANGER_FDS=()
  random_file "$WORK/data" 16
  volume_start 1 64M
  before=$(ulimit -Sn)
  allow_files $(($(descriptors_of "${PROVIDER_PID[p1]}") + STRANGERS / 2))
  connect_strangers
  wait_until 10 "the provider says that it can open no more" has_complained
  expect_equal "complaints" "$(complaints)" 1
  write_and_compare "while_nobody_comes_in"
  step "more are allowed"
  allow_files "$before"
  wait_until 10 "the provider answers others again" provider_counter_is p1 leases 1
  write_and_compare "again"
  disconnect_strangers
}
