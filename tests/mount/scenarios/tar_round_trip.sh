# shellcheck shell=bash disable=SC2034
# An archive is unpacked on the mount and packed again; both archives hold the same.
matrix=cover
limit_s=120

pack() {
  tar --sort=name --format=posix --numeric-owner \
    --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime -C "$1" -c .
}

scenario() {
  local before after
  volume_start 2 512M
  mkdir "$WORK/source" "$MNT/unpacked"
  cp -a /usr/include/linux /usr/include/c++ "$WORK/source/"
  random_file "$WORK/source/random" 64
  ln -s random "$WORK/source/symlink"
  ln "$WORK/source/random" "$WORK/source/hard-link"
  chmod 0751 "$WORK/source/random"
  before=$(pack "$WORK/source" | sha256sum)
  pack "$WORK/source" | tar -x --same-permissions -C "$MNT/unpacked"
  # A directory's time changes while it is filled; tar sets it at the end.
  drop_caches
  after=$(pack "$MNT/unpacked" | sha256sum)
  expect_equal "checksum of the archive" "$after" "$before"
}
