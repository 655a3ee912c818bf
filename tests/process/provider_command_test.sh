#!/bin/bash
# The command rram-provider itself: what it prints, how it refuses, how it ends.
#   provider_command_test.sh PATH_OF_RRAM_PROVIDER
set -u
provider=$1
folder=$(mktemp -d)
socket=$folder/p.sock
failures=0
running=

finish() {
  if [ -n "$running" ]; then kill -KILL "$running" 2>/dev/null; fi
  rm -rf "$folder"
}
trap finish EXIT

# check NAME COMMAND...: the command must succeed.
check() {
  local name=$1
  shift
  if "$@"; then
    echo "ok   $name"
  else
    echo "FAIL $name"
    failures=$((failures + 1))
  fi
}

# refuses STATUS TEXT ARGUMENTS...: ends with STATUS, TEXT is part of one sentence on stderr.
refuses() {
  local status=$1 text=$2
  shift 2
  timeout 20 "$provider" "$@" >"$folder/out" 2>"$folder/err"
  local got=$?
  [ "$got" = "$status" ] && grep -qF -- "$text" "$folder/err" && [ ! -s "$folder/out" ] && return 0
  echo "     status $got: $(cat "$folder/err")"
  return 1
}

value_of() { "$provider" --status "unix://$socket" | sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p"; }

# A port that nobody has right now.
port=$((20000 + RANDOM % 12000)) # below those that the kernel gives to connections
while (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; do port=$((port + 1)); done

"$provider" --size 32M --listen "tcp://127.0.0.1:$port" --unix "$socket" >"$folder/ready" 2>"$folder/log" &
running=$!
for _ in $(seq 200); do
  [ -s "$folder/ready" ] && break
  sleep 0.05
done
check "one line when ready" test "$(cat "$folder/ready")" = \
  "rram-provider: ready, 32.0 MiB in 4.0 KiB pages, tcp://127.0.0.1:$port, unix://$socket"
check "before it, that it listens already" grep -q \
  "to be pinned, what is pinned can be leased, tcp://127.0.0.1:$port, unix://$socket" "$folder/log"
check "and from which pages the pool is made" grep -q "the pool is made of " "$folder/log"
check "status over the Unix socket" test "$(value_of pool_bytes)" = 33554432
check "status over TCP" grep -q '"free_bytes": 33554432' <("$provider" --status "tcp://127.0.0.1:$port")
check "the socket is for this user only" test "$(stat -c %a "$socket")" = 600
check "a port that is taken" refuses 1 "has that port" --size 2M --no-unix --listen "tcp://127.0.0.1:$port"
check "a socket that is taken" refuses 1 "choose another place" --size 2M \
  --listen "tcp://127.0.0.1:$((port + 1))" --unix "$socket"
check "two addresses in one --listen" refuses 2 "one address for each --listen" --size 2M \
  --no-unix --listen "tcp://127.0.0.1/127.0.0.2:$((port + 1))"
kill -TERM "$running"
wait "$running"
check "SIGTERM ends it with success" test $? = 0
running=
check "and with a line" grep -q "stopping" "$folder/log"
check "and without the socket file" test ! -e "$socket"

"$provider" --size 256M --no-unix --listen "tcp://127.0.0.1:$port" >"$folder/ready" 2>"$folder/log" &
running=$!
for _ in $(seq 400); do
  grep -q "to be pinned" "$folder/log" && break
  sleep 0.01
done
kill -TERM "$running"
wait "$running"
check "SIGTERM while memory is being pinned ends it with success" test $? = 0
running=
check "with the same line" grep -q "stopping" "$folder/log"

check "an open address without --allow" refuses 1 "--allow" --size 2M --no-unix --listen tcp://0.0.0.0:7471
check "more than the host has" refuses 1 "memory available" --size 20T --no-unix --listen "tcp://127.0.0.1:$port"
check "no size" refuses 2 "--size" --no-unix
check "a size that is none" refuses 2 "'much'" --size much
check "a bad range" refuses 2 "10.0.0.1/40" --size 2M --allow 10.0.0.1/40
check "an unknown option" refuses 2 "--sizes" --sizes 2M
check "a key file that is not there" refuses 2 "$folder/none" --size 2M --key-file "$folder/none"
check "no provider to ask" refuses 1 "$socket" --status "unix://$socket"
check "version" grep -q '^rram-provider [0-9]' <("$provider" --version)

(umask 077 && "$provider" --generate-key >"$folder/key")
check "a generated key is a key" test "$(tr -d '\n' <"$folder/key" | base64 -d | wc -c)" = 32
"$provider" --size 32M --listen "tcp://127.0.0.1:$port" --no-unix --key-file "$folder/key" \
  >"$folder/ready" 2>"$folder/log" &
running=$!
for _ in $(seq 200); do
  [ -s "$folder/ready" ] && break
  sleep 0.05
done
check "the key opens" grep -q pool_bytes <("$provider" --status "tcp://127.0.0.1:$port" --key-file "$folder/key")
check "without it nothing does" refuses 1 "key" --status "tcp://127.0.0.1:$port"
kill -INT "$running"
wait "$running"
check "SIGINT ends it with success" test $? = 0
running=

exit "$((failures > 0))"
