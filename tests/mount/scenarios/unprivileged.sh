# shellcheck shell=bash disable=SC2034
# A user who is not root mounts, uses and detaches; nobody else gets in.
matrix=none
limit_s=60
needs="fusermount3"

scenario() {
  local own=$WORK/own
  [[ $(id -u) -eq 0 ]] || skip "needs root, to become somebody else"
  [[ -u $(command -v fusermount3) ]] || skip "fusermount3 is not set-uid here"
  let_others_in
  install -d -o 65534 -g 65534 "$own" "$own/mnt"
  # The build directory may be closed to others.
  install -m 0755 "$RRAMFS" "$own/rramfs"

  as_nobody "$own/rramfs" "$own/mnt" -o "providers=local:64M,log_file=$own/log"
  as_nobody bash -euc "
    cd '$own/mnt'
    echo hello >file
    ln file other
    mkdir directory
    truncate -s 1G sparse
    setfattr -n user.a -v 1 file
    setfacl -m u:1001:r file
    [[ \$(cat other) == hello ]]
    [[ \$(stat -c %u:%h file) == 65534:2 ]]
    cp file directory"
  expect_failure ls "$own/mnt"
  expect_match "root is kept out" "$OUTPUT" "Permission denied"
  as_nobody fusermount3 -u "$own/mnt"
  wait_until "$ENDING_S" "the daemon ends" daemon_is_gone "$own/rramfs"
}

daemon_is_gone() {
  [[ -z $(processes_of "$1") ]]
}
