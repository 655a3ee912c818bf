# shellcheck shell=bash disable=SC2034
# What programs do to files every day, one by one, with what must come of it.
matrix=all
limit_s=60
key=yes
needs="python3"

scenario() {
  volume_start 2 128M
  python3 "$ROOT/tests/mount/everyday.py" "$MNT"
  step "permissions bind a user who is not root"
  echo secret >"$MNT/secret"
  chmod 0600 "$MNT/secret"
  chmod 0755 "$MNT"
  if [[ $(id -u) -eq 0 ]]; then
    expect_failure as_nobody cat "$MNT/secret"
    expect_match "refusal" "$OUTPUT" "Permission denied"
    chmod 0644 "$MNT/secret"
    let_others_in
    expect_equal "read by nobody" \
      "$(as_nobody cat "$MNT/secret")" secret
  fi
}
