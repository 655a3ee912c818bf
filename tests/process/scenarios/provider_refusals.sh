# shellcheck shell=bash disable=SC2034
# A provider that cannot or must not start says why in one sentence.
matrix=none
limit_s=60
key=yes

# refused WHAT REGEX OPTIONS...
refused() {
  local what=$1 pattern=$2
  shift 2
  step "$what"
  expect_failure timeout 20 "$RRAM_PROVIDER" "$@"
  echo "$OUTPUT"
  expect_match "$what" "$OUTPUT" "$pattern"
}

scenario() {
  local -a here=(--unix "$WORK/other.sock")
  provider_start p1 64M
  next_port
  refused "an address for everybody without --allow or a key" "allow" --size 64M \
    --listen "tcp://0.0.0.0:$LAST_PORT" "${here[@]}"
  refused "no size" "size" --listen "tcp://127.0.0.1:$LAST_PORT" "${here[@]}"
  refused "a bad size" "size" --size plenty "${here[@]}"
  refused "more than the host has" "memory|GiB|TiB|limit" --size 900T \
    --listen "tcp://127.0.0.1:$LAST_PORT" "${here[@]}"
  refused "a port that is taken" "${PROVIDER_PORT[p1]}" --size 64M \
    --listen "tcp://127.0.0.1:${PROVIDER_PORT[p1]}" "${here[@]}"
  refused "a socket that is taken" "p1.sock" --size 64M \
    --listen "tcp://127.0.0.1:$LAST_PORT" --unix "$WORK/p1.sock"
  refused "a bad address" "nonsense" --size 64M --listen nonsense "${here[@]}"
  refused "a bad CIDR" "300" --size 64M --allow 300.1.1.1/8 "${here[@]}"
  refused "a key file that is not there" "none" --size 64M --key-file "$WORK/none" "${here[@]}"
  refused "an unknown option" "nonsense" --size 64M --nonsense
  refused "status of nobody" "none.sock" --status "unix://$WORK/none.sock"
  ! process_gone "${PROVIDER_PID[p1]}" || fail "the first provider ended"
}
