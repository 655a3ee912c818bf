# shellcheck shell=bash
# Which files the checks look at: those of the tree, also new ones, without what git ignores.
# Sourced with ROOT set.

if [[ -z ${ROOT:-} ]]; then
  ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
fi

# tree_files: paths relative to the root.
tree_files() {
  git -C "$ROOT" -c safe.directory='*' ls-files --cached --others --exclude-standard |
    while read -r file; do
      [[ ! -f $ROOT/$file ]] || echo "$file"
    done
}

cpp_files() {
  tree_files | grep -E '\.(h|cc)$' | grep -v '^classic/'
}

shell_files() {
  tree_files | while read -r file; do
    if [[ $file == *.sh ]] || head -c 40 "$ROOT/$file" | head -n 1 | grep -aqE '^#!.*\b(ba)?sh\b'; then
      echo "$file"
    fi
  done
}
