# shellcheck shell=bash disable=SC2034
# Keys: two are never the same; a provider with a key listens anywhere, and only for who knows it.
matrix=none
limit_s=60

scenario() {
  local first second
  first=$("$RRAM_PROVIDER" --generate-key)
  second=$("$RRAM_PROVIDER" --generate-key)
  [[ $first != "$second" ]] || fail "two keys are the same"
  expect_at_least "length of a key" "${#first}" 32
  echo "$first" >"$WORK/key"
  chmod 0600 "$WORK/key"
  next_port
  provider_start p1 64M --listen "tcp://0.0.0.0:$LAST_PORT" --key-file "$WORK/key"
  [[ $(cat "$WORK/p1.out" "$WORK/p1.err") != *"$first"* ]] || fail "the key is in the log"
  provider_stop p1
  chmod 0644 "$WORK/key"
  expect_failure timeout 20 "$RRAM_PROVIDER" --size 64M --key-file "$WORK/key" \
    --unix "$WORK/p1.sock" --listen "tcp://127.0.0.1:$LAST_PORT"
  expect_match "refusal of an open key file" "$OUTPUT" "0600|mode|readable|permission"
}
