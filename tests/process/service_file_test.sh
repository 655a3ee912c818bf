#!/bin/bash
# The systemd unit: systemd understands all of it, and it leaves the provider one capability.
#   service_file_test.sh UNIT RRAM_PROVIDER
set -euo pipefail
unit=$1
provider=$(readlink -f "$2")

command -v systemd-analyze >/dev/null || { echo "no systemd-analyze here" && exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Where it will be installed it is not yet.
sed "s|^ExecStart=[^ ]*|ExecStart=$provider|" "$unit" >"$folder/rram-provider.service"

said=$(systemd-analyze verify "$folder/rram-provider.service" 2>&1) || { echo "$said" && exit 1; }
if grep -F "rram-provider.service" <<<"$said"; then
  echo "systemd does not understand all of the unit"
  exit 1
fi
# Exposure from 0 to 10, here times 10; a service without any of these lines has 96.
systemd-analyze security --offline=yes --no-pager --threshold=25 "$folder/rram-provider.service" \
  >"$folder/report" || { cat "$folder/report" && exit 1; }
tail -n 1 "$folder/report"
for line in User=rram CapabilityBoundingSet=CAP_IPC_LOCK AmbientCapabilities=CAP_IPC_LOCK; do
  grep -qx "$line" "$unit" || { echo "the unit has no line $line" && exit 1; }
done
