# shellcheck shell=bash disable=SC2034
# PostgreSQL is stopped at once and killed under load, again and again: after each recovery what it
# had acknowledged is there and the balances agree; at the end no page, table or index is damaged.
# POSTGRES_CRASHES=30 does it more often.
matrix=cover
limit_s=$((180 + 20 * ${POSTGRES_CRASHES:-3}))
mode=full
PROGRAMS=/usr/lib/postgresql/15/bin
needs="$PROGRAMS/postgres $PROGRAMS/pgbench $PROGRAMS/pg_amcheck"

CLIENTS=4
WAYS=(stop_at_once kill_postmaster kill_all)

# It refuses to run as root.
run() {
  local program=$1
  shift
  as_nobody env PGHOST="$HOME_ON_MOUNT" PGDATABASE=postgres "$PROGRAMS/$program" "$@"
}

# run_quietly PROGRAM OPTIONS...: what it says is shown only when it fails.
run_quietly() {
  run "$@" >"$WORK/$1.out" 2>&1 || fail "$1: $(tail -n 10 "$WORK/$1.out" "$WORK/server.log")"
}

make_cluster() {
  install -d -o 65534 -g 65534 "$HOME_ON_MOUNT"
  : >"$WORK/server.log"
  run_quietly initdb --pgdata="$DATA" --username=nobody --auth=trust --no-locale --data-checksums \
    --wal-segsize=1
  # Little memory and little log, so that pages and log files come and go through the file system.
  cat >>"$DATA/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$HOME_ON_MOUNT'
shared_buffers = 8MB
min_wal_size = 4MB
max_wal_size = 16MB
CONF
}

# Not by pg_ctl: whoever is killed must be waited for, or the next server takes it for a running one.
start_server() {
  run postgres -D "$DATA" >>"$WORK/server.log" 2>&1 &
  SERVER=$!
  wait_until 60 "PostgreSQL answers" server_answers_or_is_gone
  ! process_gone "$SERVER" || fail "PostgreSQL ended: $(tail -n 10 "$WORK/server.log")"
}

server_answers_or_is_gone() {
  process_gone "$SERVER" || run pg_isready --quiet
}

stop_server() {
  run_quietly pg_ctl --pgdata="$DATA" --mode="$1" --wait stop
}

# All of them work in the data directory; their title replaces the environment that others are found by.
server_processes() {
  # Processes that end meanwhile are no failure.
  find /proc -maxdepth 2 -name cwd -lname "$DATA" 2>/dev/null | cut -d / -f 3 || true
}

server_is_gone() {
  [[ -z $(server_processes) ]]
}

stop_at_once() {
  stop_server immediate
}

kill_postmaster() {
  kill -KILL "$(head -n 1 "$DATA/postmaster.pid")"
}

kill_all() {
  # shellcheck disable=SC2046 # a list of words
  kill -KILL $(server_processes)
}

# crash_under_load WAY: what pgbench was told to be committed is added to $ACKNOWLEDGED.
crash_under_load() {
  local load status=0
  run pgbench --no-vacuum --client=$CLIENTS --jobs=2 --time=60 >"$WORK/load.out" 2>&1 &
  load=$!
  sleep "1.$((RANDOM % 10))"
  "$1"
  wait "$load" || status=$?
  expect_equal "pgbench lost its server ($(tail -n 3 "$WORK/load.out"))" "$status" 2
  wait "$SERVER" || true
  wait_until 20 "no process of the server is left" server_is_gone
  ACKNOWLEDGED=$((ACKNOWLEDGED + $(
    sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$WORK/load.out"
  )))
}

# Each transaction adds the same sum to an account, a teller and a branch, and notes it.
expect_consistent_balances() {
  local accounts tellers branches notes count
  run psql --no-align --tuples-only --field-separator=' ' >"$WORK/sums" <<'SQL'
SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
       (SELECT sum(bbalance) FROM pgbench_branches),
       (SELECT coalesce(sum(delta), 0) FROM pgbench_history), (SELECT count(*) FROM pgbench_history);
SQL
  read -r accounts tellers branches notes count <"$WORK/sums"
  expect_equal "tellers against accounts" "$tellers" "$accounts"
  expect_equal "branches against accounts" "$branches" "$accounts"
  expect_equal "history against accounts" "$notes" "$accounts"
  expect_at_least "transactions of $ACKNOWLEDGED acknowledged" "$count" "$ACKNOWLEDGED"
  # The last one of each client may have been committed without its answer.
  expect_at_least "transactions too many" $((ACKNOWLEDGED + $1 * CLIENTS - count)) 0
}

# check_everything: each heap page and index entry, by the tables and by the checksums.
check_everything() {
  local indexes
  run pg_amcheck --all --install-missing --heapallindexed --rootdescend --verbose \
    >"$WORK/amcheck.out" 2>&1 || fail "damaged: $(grep -v checking "$WORK/amcheck.out" | head)"
  indexes=$(grep -c 'checking btree index' "$WORK/amcheck.out")
  expect_at_least "indexes checked" "$indexes" 100
  stop_server fast
  drop_caches
  run_quietly pg_checksums --check --pgdata="$DATA"
  echo "$indexes indexes, $(grep -c 'checking heap table' "$WORK/amcheck.out") tables," \
    "$(awk -F ': *' '/Blocks scanned/ { print $2 }' "$WORK/pg_checksums.out") pages," \
    "$ACKNOWLEDGED transactions"
}

scenario() {
  local i way
  [[ $(id -u) -eq 0 ]] || skip "needs root, to become somebody else"
  volume_start 2 256M
  let_others_in
  HOME_ON_MOUNT=$MNT/postgres DATA=$MNT/postgres/data ACKNOWLEDGED=0
  make_cluster
  start_server
  run_quietly pgbench --initialize --scale=2
  for ((i = 1; i <= ${POSTGRES_CRASHES:-3}; ++i)); do
    way=${WAYS[i % ${#WAYS[@]}]}
    step "$way"
    crash_under_load "$way"
    drop_caches
    start_server
    expect_consistent_balances "$i"
  done
  expect_at_least "transactions" "$ACKNOWLEDGED" 100
  step "check"
  check_everything
}
