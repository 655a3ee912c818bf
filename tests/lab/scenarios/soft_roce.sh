# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# RDMA works between the hosts: librdmacm, and the tools of perftest, which also give its figures.
limit_s=150
needs="rping ib_write_bw ib_read_bw ib_read_lat"

ping_over_rdma() {
  on_bg p1 "rping -s -a ${ADDRESS[p1]} -C 5"
  on requester "until rping -c -a ${ADDRESS[p1]} -C 5 -v; do sleep 0.2; done"
  command_wait "$COMMAND" 20
}

# measure COLUMN UNIT TOOL OPTIONS...
measure() {
  local column=$1 unit=$2
  shift 2
  perftest "$column" "$@"
  figure "$*: $FIGURE $unit"
}

scenario() {
  local host
  for host in "${HOSTS[@]}"; do
    expect_match "RDMA device of $host" "$(on "$host" rdma link)" "rxe0.*ACTIVE"
  done
  step "rping"
  ping_over_rdma
  step "figures"
  measure 4 MB/s ib_write_bw -s 262144 -n 100
  measure 4 MB/s ib_read_bw -s 262144 -n 100
  measure 5 us ib_read_lat -s 4096 -n 300
}
