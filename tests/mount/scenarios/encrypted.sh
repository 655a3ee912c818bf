# shellcheck shell=bash disable=SC2034
# A mount with tls: everything works as without, and what is stored is nowhere on the wire.
matrix=once
limit_s=240
key=yes
needs="python3 openssl"

CANARY=canary-that-nobody-else-writes-7f3a91

operations() {
  local full=20000
  [[ $RUN_MODE == full ]] || full=2000
  echo "${ENCRYPTED_OPERATIONS:-$full}"
}

# proxy_start NAME: all that goes to that provider goes through $LAST_PORT, and into $WORK/wire.
proxy_start() {
  next_port
  python3 "$ROOT/tests/mount/recording_proxy.py" "$LAST_PORT" "${PROVIDER_PORT[$1]}" "$WORK/wire" &
  PROXY=$!
  wait_until 10 "the proxy listens" proxy_listens
}

proxy_listens() {
  ! port_is_free "$LAST_PORT"
}

proxy_stop() {
  kill "$PROXY"
  wait "$PROXY" 2>/dev/null || true
}

# store_and_look OPTIONS: how many lines of the canary were on the wire.
store_and_look() {
  proxy_start p1
  rramfs_mount "$MNT" "providers=tcp://127.0.0.1:$LAST_PORT,key_file=$WORK/key,front_end=$FRONT_END$1"
  (set +o pipefail && yes "$CANARY" | head -c 1M >"$MNT/canary-file")
  sync -f "$MNT"
  drop_caches
  expect_equal "canaries read back" "$(grep -c "$CANARY" "$MNT/canary-file")" \
    $((1048576 / (${#CANARY} + 1)))
  detach
  proxy_stop
  SEEN=$(grep -a -c "$CANARY" "$WORK/wire" || true)
}

scenario() {
  "$RRAM_PROVIDER" --generate-key >"$WORK/key"
  chmod 0600 "$WORK/key"
  PROVIDER_KEY["p1"]=$WORK/key
  provider_start p1 128M --key-file "$WORK/key"

  step "what is stored, without tls and with it"
  store_and_look ""
  expect_at_least "canaries on the wire without tls" "$SEEN" 1
  store_and_look ",tls"
  expect_equal "canaries on the wire with tls" "$SEEN" 0
  expect_match "line of the mount" "$MOUNT_LINE" "tcp with tls"

  step "refusals"
  expect_failure "$RRAMFS" "$MNT" -o "providers=$(endpoint p1),tls"
  expect_match "tls without a key" "$OUTPUT" "key_file="
  expect_failure "$RRAMFS" "$MNT" -o "providers=unix://$WORK/p1.sock,key_file=$WORK/key,tls"
  expect_match "tls over a socket of this host" "$OUTPUT" "tls is for TCP"

  step "a provider that requires it"
  PROVIDER_KEY["p2"]=$WORK/key
  provider_start p2 128M --key-file "$WORK/key" --require-tls
  expect_failure timeout 30 "$RRAMFS" "$MNT" -o "providers=$(endpoint p2),key_file=$WORK/key"
  expect_match "refusal by the provider" "$OUTPUT" "mount with -o tls"

  step "files through it"
  rramfs_mount "$MNT" \
    "providers=$(endpoint p1)+$(endpoint p2),key_file=$WORK/key,tls,front_end=$FRONT_END"
  random_file "$WORK/random" 20
  cp "$WORK/random" "$MNT/random"
  drop_caches
  cmp "$WORK/random" "$MNT/random" || fail "a file came back changed"
  "$EXERCISER" --dir "$MNT/exerciser" --operations "$(operations)" --processes 2 \
    --seed "${EXERCISER_SEED:-$RANDOM$RANDOM}" --time-limit $((limit_s * SLOW - 40))
}
