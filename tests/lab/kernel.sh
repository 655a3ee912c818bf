# shellcheck shell=bash
# The kernel of the virtual hosts and the first file system that it sees. Sourced.

# The newest kernel in /boot that has soft-RoCE; empty when there is none.
guest_kernel() {
  local kernel
  for kernel in $(compgen -G '/boot/vmlinuz-*-amd64' | sort -rV); do
    if modprobe -S "${kernel#*/vmlinuz-}" --show-depends rdma_rxe >/dev/null 2>&1; then
      echo "$kernel"
      return
    fi
  done
}

# plain_kernel KERNEL FILE: without its wrapping, for to unpack itself takes an emulated processor
# several seconds. Debian packs with xz; what is packed in another way is left as it is.
plain_kernel() {
  local magic=$'\xfd7zXZ' offset
  offset=$(LC_ALL=C grep -abo -m 1 "$magic" "$1" | head -n 1 | cut -d : -f 1 || true)
  if [[ -z $offset ]] || ! tail -c +$((offset + 1)) "$1" | xz -dc --single-stream >"$2"; then
    cp "$1" "$2"
  fi
}

# module_files VERSION MODULE...: their files, in the order in which they can be loaded.
module_files() {
  local version=$1 module
  shift
  for module in "$@"; do
    modprobe -S "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++'
}

# make_initrd KERNEL FILE: as much as it takes to mount the root; all else is loaded from there.
make_initrd() {
  local version=${1#*/vmlinuz-} tree=$2.tree module
  mkdir -p "$tree"/{bin,proc,sys,dev,modules,lower,upper,new}
  cp /bin/busybox "$tree/bin/"
  cp "$(dirname "${BASH_SOURCE[0]}")/guest/init" "$tree/init"
  chmod +x "$tree/init"
  while read -r module; do
    cp "$module" "$tree/modules/"
    basename "$module" >>"$tree/modules/order"
  done < <(module_files "$version" virtio_pci 9p 9pnet_virtio overlay virtio_net virtio-rng \
    virtio_console)
  (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$2"
  rm -rf "$tree"
}
