# shellcheck shell=bash
# What is measured on each candidate. Sourced after candidates.sh.

LATE_S=60 # past its time, a job is given up

# name, kind, and what fio or rram-metadata needs: pattern, request, requests in flight | processes.
job_table() {
  cat <<'TABLE'
direct.read.1m.d1 direct read 1m 1
direct.write.1m.d1 direct write 1m 1
direct.read.1m.d4 direct read 1m 4
direct.write.1m.d4 direct write 1m 4
direct.read.1m.d32 direct read 1m 32
direct.write.1m.d32 direct write 1m 32
direct.randread.4k.d1 direct randread 4k 1
direct.randwrite.4k.d1 direct randwrite 4k 1
direct.randread.4k.d32 direct randread 4k 32
direct.randwrite.4k.d32 direct randwrite 4k 32
buffered.read.1m buffered read 1m 1
buffered.write.1m buffered write 1m 1
buffered.randread.4k buffered randread 4k 1
buffered.randwrite.4k buffered randwrite 4k 1
buffered.reread.1m cached read 1m 1
metadata.p1 metadata - - 1
metadata.p2 metadata - - 2
TABLE
}

# The spike knows one file without names, and never uses the page cache.
job_fits() {
  local key=$1 kind=$2
  [[ $key != spike || $kind == direct ]]
}

# Options of fio for a kind of job; in $FIO.
fio_options() {
  local kind=$1 pattern=$2 request=$3 depth=$4
  FIO=(--name=bench --size="${FILE_MIB}m" --rw="$pattern" --bs="$request" --iodepth="$depth"
    --thread --fallocate=none --disk_util=0 --eta=never --output-format=json
    --runtime="${SECONDS_MS}ms" --ioengine=psync)
  case $kind in
    direct)
      FIO+=(--direct=1 --time_based --norandommap)
      [[ $depth -eq 1 ]] || FIO+=(--ioengine="$ENGINE")
      ;;
    # Pass after pass over the file until the time is over. Each pass opens the file anew and drops
    # its cached pages (fio's `invalidate`), and a pass never asks for a block twice, so that reads
    # go to the daemon; a writing pass ends with fsync, inside the time that counts.
    buffered)
      FIO+=(--loops=10000 --invalidate=1)
      [[ $pattern != *write ]] || FIO+=(--end_fsync=1)
      ;;
    # The same pages again, out of the kernel's cache.
    cached) FIO+=(--pre_read=1 --time_based) ;;
  esac
}

# lay_out KEY: the whole file is written before anything is measured, so that no read meets a hole.
lay_out() {
  local key=$1 output=$WORK/$1/layout.txt
  LATE_KEY=$key
  bounded 120 "$output" late fio --name=layout --filename="${MOUNT_OF[$key]}/f" \
    --size="${FILE_MIB}m" --rw=write --bs=1m --direct=1 --ioengine=psync --thread \
    --fallocate=none --eta=never || fail "$key: the file cannot be written: $(tail -n 5 "$output")"
}

# What a job that runs past its limit waits for is most likely the daemon. Aborting is not enough
# where the daemon itself has stopped; the candidate is lost either way.
late() {
  abort_connection "$LATE_KEY"
  local pid=${REQUESTER_OF[$LATE_KEY]:-}
  [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
}

# run_job KEY REPEAT NAME KIND PATTERN REQUEST DEPTH: leaves raw/REPEAT/NAME/KEY.json and .cpu, or
# KEY.failed with the reason.
run_job() {
  local key=$1 name=$3 kind=$4
  local result=$WORK/raw/$2/$name/$key status=0 requester_us providers_us
  local -a command
  mkdir -p "${result%/*}"
  if [[ $kind == metadata ]]; then
    command=("$WORK/bin/rram-metadata" "${MOUNT_OF[$key]}" --processes "$7"
      --files $((METADATA_FILES / $7)) --drop-caches)
  else
    fio_options "${@:4}"
    command=(fio "${FIO[@]}" --filename="${MOUNT_OF[$key]}/f" --output="$result.json")
  fi
  LATE_KEY=$key
  requester_us=$(cpu_us "${REQUESTER_OF[$key]:-}")
  # shellcheck disable=SC2086 # several process ids
  providers_us=$(cpu_us ${PROVIDERS_OF[$key]:-})
  bounded $((SECONDS_MS / 1000 + LATE_S)) "$result.out" late "${command[@]}" || status=$?
  # shellcheck disable=SC2086
  echo $(($(cpu_us "${REQUESTER_OF[$key]:-}") - requester_us)) \
    $(($(cpu_us ${PROVIDERS_OF[$key]:-}) - providers_us)) >"$result.cpu"
  [[ $kind != metadata ]] || cp "$result.out" "$result.json"
  if [[ $status -ne 0 ]]; then
    { echo "status $status" && tail -n 3 "$result.out"; } >"$result.failed"
    note "  $name on $key failed: $(tail -n 1 "$result.failed")"
    bounded 20 /dev/null late find "${MOUNT_OF[$key]}" -maxdepth 1 -name 'metadata.*' \
      -exec rm -rf {} + || true
  fi
}
