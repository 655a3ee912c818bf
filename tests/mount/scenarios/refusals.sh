# shellcheck shell=bash disable=SC2034
# Whatever is wrong at the start is one sentence and an exit status, and nothing stays mounted.
matrix=none
limit_s=120
key=yes

LINES_ALLOWED=1

# refused WHAT REGEX COMMAND...
refused() {
  local what=$1 pattern=$2
  shift 2
  step "$what"
  expect_failure timeout 30 "$@"
  echo "$OUTPUT"
  expect_at_least "lines to spare about: $what" $((LINES_ALLOWED - $(echo "$OUTPUT" | wc -l))) 0
  expect_match "$what" "$OUTPUT" "$pattern"
  ! is_mounted "$MNT" || fail "$what: something is mounted"
}

refused_options() {
  refused "$1" "$2" "$RRAMFS" "$MNT" -o "$3"
}

scenario() {
  TRANSPORT=tcp
  [[ -w /dev/fuse ]] || skip "no /dev/fuse here"
  "$RRAM_PROVIDER" --generate-key >"$WORK/key"
  "$RRAM_PROVIDER" --generate-key >"$WORK/other-key"
  chmod 0600 "$WORK/key" "$WORK/other-key"
  provider_start open 64M
  PROVIDER_KEY["locked"]=$WORK/key
  provider_start locked 64M --key-file "$WORK/key"
  next_port

  refused_options "no providers" "providers" "size=1G"
  refused_options "a provider that is not there" "127.0.0.1:$LAST_PORT" \
    "providers=tcp://127.0.0.1:$LAST_PORT,timeout=2s"
  refused_options "one of two is not there" "127.0.0.1:$LAST_PORT" \
    "providers=$(endpoint open)+tcp://127.0.0.1:$LAST_PORT,timeout=2s"
  refused_options "a socket that is not there" "none.sock" "providers=unix://$WORK/none.sock"
  refused_options "no key" "key" "providers=$(endpoint locked)"
  refused_options "a wrong key" "key|proof|authent" \
    "providers=$(endpoint locked),key_file=$WORK/other-key"
  refused_options "a key file that is not there" "none" \
    "providers=$(endpoint open),key_file=$WORK/none"
  refused_options "an unknown scheme" "gopher" "providers=gopher://somewhere"
  refused_options "a host that is not there" "no-such-host" \
    "providers=tcp://no-such-host.invalid:7470,timeout=2s"
  LINES_ALLOWED=2 # libfuse says the first of them
  refused_options "an unknown option" "refused.*nonsense" "providers=local:64M,nonsense=1"
  LINES_ALLOWED=1
  refused_options "a bad size" "size" "providers=local:64M,size=lots"
  refused_options "a bad local size" "local|size" "providers=local:plenty"
  refused_options "a bad stripe unit" "stripe" "providers=local:64M,stripe=100K"
  refused_options "more than there is" "size|only|free" "providers=$(endpoint open),size=1T"
  refused_options "a bad timeout" "timeout|duration" "providers=local:64M,timeout=soon"
  refused_options "a bad front end" "front_end" "providers=local:64M,front_end=teleport"
  refused "a place that is not there" "none" "$RRAMFS" "$WORK/none" -o providers=local:64M
  : >"$WORK/file"
  refused "a place that is no directory" "directory" "$RRAMFS" "$WORK/file" -o providers=local:64M
  chmod 0644 "$WORK/key"
  refused_options "a key file that others can read" "0600|mode|readable|permission" \
    "providers=$(endpoint locked),key_file=$WORK/key"
  chmod 0600 "$WORK/key"

  step "the right key"
  rramfs_mount "$MNT" "providers=$(endpoint locked),key_file=$WORK/key"
  echo hello >"$MNT/file"
  detach
  expect_equal "rramfs processes left" "$(processes_of "$RRAMFS")" ""
}
