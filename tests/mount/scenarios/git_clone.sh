# shellcheck shell=bash disable=SC2034
# git makes a repository on the mount, clones it, checks every object.
matrix=cover
limit_s=180
needs="git"

quiet_git() {
  git -c user.name=test -c user.email=test@localhost -c init.defaultBranch=main \
    -c gc.auto=0 -c advice.detachedHead=false "$@" >>"$WORK/git.log" 2>&1 ||
    fail "git $*: $(tail -n 3 "$WORK/git.log")"
}

make_repository() {
  quiet_git init "$1"
  cp -r /usr/include/linux "$1/linux"
  quiet_git -C "$1" add -A
  quiet_git -C "$1" commit -m first
  find "$1/linux" -name '*.h' | sort | sed -n 1,200p | while read -r file; do
    echo "// $RANDOM" >>"$file"
  done
  quiet_git -C "$1" commit -a -m second
}

scenario() {
  volume_start 2 512M
  make_repository "$MNT/origin"
  step "clone, with hard links and without"
  quiet_git clone "$MNT/origin" "$MNT/linked"
  quiet_git clone --no-hardlinks "$MNT/origin" "$MNT/copied"
  drop_caches
  step "fsck"
  quiet_git -C "$MNT/linked" fsck --full --strict
  quiet_git -C "$MNT/copied" fsck --full --strict
  quiet_git -C "$MNT/copied" repack -a -d
  quiet_git -C "$MNT/copied" checkout HEAD~1
  expect_equal "changes" "$(git -C "$MNT/copied" status --porcelain)" ""
  diff -r /usr/include/linux "$MNT/copied/linux"
}
